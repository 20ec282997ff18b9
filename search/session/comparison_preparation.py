"""What comparisons have in common: their folder while they work in it, a prepared model, shared searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bitfront.evaluators.files import explained
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import SPACE, RunFolder, write_space
from bitfront.search.session.comparison.shared_evaluations import EVALUATIONS
from bitfront.search.session.inputs import RunInputs, prepare_run
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.worker_pool import WorkerOptions, note_options, one_thread_each, start_workers

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.session.comparison.searches import SharedSearches

# Holds what `bitfront search` prepares; in a folder of its own, so that the comparison is no run.
PREPARED = "prepared"


@dataclass(frozen=True)
class ComparisonFolder:
    """What a comparison left: its folder and its figures.

    Attributes:
        folder: Where evaluations, figures and tables are.
        figures: What was found, as JSON holds it.
    """

    folder: Path
    figures: Mapping[str, Any]
    # Files of the folder that are for its reader.
    shown: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """The name by which the comparison can be resumed."""
        return self.folder.name

    @property
    def interrupted(self) -> bool:
        """Whether something of it is left to do."""
        return bool(self.figures["interrupted"])

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {**self.figures, "files": [self.folder / name for name in self.shown]}


@contextmanager
def working_in(
    folder: RunFolder, command: str, given: WorkerOptions, reporter: Reporter, new: bool
) -> Iterator[None]:
    """Holds the folder of a comparison while it works, and says how to go on where it is cut short.

    Args:
        folder: The comparison's; one that is new and holds no evaluation in the end is removed.
        command: What goes on with it.
        given: Who evaluates, which is noted.
        reporter: Is told of the folder and of the command.
        new: Whether the folder was made for this.
    """
    kept = folder.resumable(lambda: command, begun=EVALUATIONS, new=new)
    with kept, folder.lock(), folder.log_file(), explained(folder.path):
        note_options(folder, given)
        reporter.note(f"comparison {folder.name} in {folder.path}")
        try:
            yield
        except KeyboardInterrupt:
            if (folder.path / EVALUATIONS).exists():
                reporter.note(f"next: {command}")
            raise


@dataclasses.dataclass(frozen=True)
class PreparedComparison:
    """A model that is ready to be searched.

    Attributes:
        ready: The calibrated model, costs and references.
        problem: What is searched.
        notes: What the reader of any figures must know.
        folder: The comparison's folder.
        workers: Who evaluates.
        reporter: Is told of the steps.
    """

    ready: RunInputs
    problem: SearchProblem
    notes: tuple[str, ...]
    folder: RunFolder
    workers: WorkerOptions
    reporter: Reporter

    @contextmanager
    def searches(self) -> Iterator[SharedSearches]:
        """Searches on shared evaluations, with workers for as long as the block runs."""
        from bitfront.search.session.comparison.searches import SharedSearches

        with self.reporter.stage(f"starting workers: {self.workers.words}"):
            pool = start_workers(self.workers, self.ready.spec, self.ready.context)
        try:
            yield SharedSearches(self.problem, pool, self.folder.path, self.ready.scores)
        finally:
            pool.close()


def prepare_comparison(
    spec: RunSpec,
    folder: RunFolder,
    workers: WorkerOptions,
    reporter: Reporter,
    source: LatencySource | None,
    settled: Callable[[RunSpec], None],
    samplers: Sequence[str] = (),
) -> PreparedComparison:
    """Prepares the model in a folder within the comparison's.

    Args:
        spec: What is searched.
        folder: The comparison's.
        workers: Who evaluates.
        reporter: Is told of the steps, and of what the user must know.
        source: The latency source of a new comparison; that of a resumed one is found in its folder.
        settled: Is told the spec with what was measured, such as the batch size, which is the comparison's
            own from then on.
        samplers: Those that will search; none for that of the spec.
    """
    from bitfront.search.problem.problem import SearchProblem

    prepared = RunFolder(folder.path / PREPARED)
    prepared.path.mkdir(exist_ok=True)
    # Comparisons of earlier versions searched all genes.
    early = (folder.path / EVALUATIONS).exists() and not (prepared.path / SPACE).exists()
    spec = dataclasses.replace(spec, all_genes=spec.all_genes or early)
    if workers.share_the_machine:
        spec = one_thread_each(spec)
    ready = prepare_run(spec, prepared, reporter.stage, source, reporter.note, samplers)
    settled(ready.spec)
    write_space(prepared.path, ready.space)
    notes = [*ready.notes, *([ready.kept_note] if ready.kept_note else [])]
    for note in [*(f"note: {note}" for note in notes), *ready.told()]:
        reporter.note(note)
    problem = SearchProblem.from_spec(ready.spec, ready.space, ready.costs, ready.references)
    return PreparedComparison(ready, problem, tuple(notes), folder, workers, reporter)
