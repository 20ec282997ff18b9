"""A search from its spec to a finished run folder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.environment import describe_environment, describe_evaluator
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem import wording
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunFolder, RunStore, write_space
from bitfront.search.runs.locks import study_lock
from bitfront.search.runs.names import runs_root
from bitfront.search.runs.storage import JOURNAL, has_study, without_password
from bitfront.search.samplers.registry import default_evaluations
from bitfront.search.session.inputs import RunInputs, prepare_run
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.run import Run, open_run
from bitfront.search.session.specs import completed_spec
from bitfront.search.session.worker_pool import WorkerOptions, one_thread_each, start_workers
from bitfront.spaces import BitfrontError, UserError

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.data.given_images import LabelledImages
    from bitfront.search.engine.result import SearchResult
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.runs.tables import RunTables


logger = logging.getLogger(__name__)

# Says where the study is, where it is not in the run folder.
STORAGE_NOTE = "storage.json"


def search(
    spec: RunSpec | None = None,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    model: nn.Module | None = None,
    data: LabelledImages | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    evaluation_timeout: str | float | None = None,
    worker_memory: str | int | None = None,
    send_data: bool = False,
    storage: str | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Run:
    """Searches for the Pareto-best bit widths of a model, and leaves a run folder.

    Ctrl-C ends a search in good order: the run is returned as far as it has come, with ``interrupted`` set.

    Args:
        spec: What is searched, for what and how; None for the defaults.
        name: Name of the run; None for one of model and time.
        runs_dir: Folder of the runs, made with the first; None for ``runs``, or what the environment variable
            ``BITFRONT_RUNS`` says.
        model: A timm ViT, DeiT or Swin in memory, in place of the spec's. Its architecture and weights become
            files of the run folder.
        data: A map-style data set of images and labels, in place of the spec's. Its images become files of
            the run folder.
        workers: Processes of this machine that evaluate; 0 to evaluate in this process, which works in any
            thread, notebook or script; None for as many as suit the machine. Processes import the script
            that starts them: there, the search has to stand under ``if __name__ == "__main__":``.
        cluster: Address of a Dask scheduler whose workers evaluate, such as ``tcp://10.0.0.5:8786``.
        evaluation_timeout: After which an evaluation counts as hung, in seconds or such as ``10m``; None for
            20 times the longest one so far, at least 5 minutes.
        worker_memory: Most memory of each process, in bytes or such as ``4GB``; None for an equal share.
        send_data: Whether the model and the images are sent to the workers of a cluster.
        storage: URL of a database for the Optuna study; None for the run folder.
        progress: A function that is told of each step as a text and the share of it that is done (0 to 1), or
            a :class:`~bitfront.search.session.reporter.Reporter`; None for no one.

    Returns:
        The finished run. Its front is empty where no configuration met the limits; then ``message`` says
        which were missed, and what came nearest.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: The search failed; what was evaluated is kept, and :func:`resume` goes on with it.
    """
    options = WorkerOptions.of(workers, cluster, evaluation_timeout, worker_memory, send_data)
    spec = completed_spec(spec or RunSpec())
    options = options.on(spec.evaluation.device)
    store = RunStore(runs_root(runs_dir))
    called = spec.evaluation.model if model is None else type(model).__name__
    folder = store.create(name or store.default_name(called))
    given = _Given(model, data)
    return _Session(spec, folder, options, storage, reporter_of(progress), given=given).run()


def resume(
    name: str,
    *,
    runs_dir: str | Path | None = None,
    evaluations: int | None = None,
    time_budget: str | float | None = None,
    plateau: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    evaluation_timeout: str | float | None = None,
    worker_memory: str | int | None = None,
    send_data: bool = False,
    storage: str | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Run:
    """Goes on with a run; what it has evaluated is not evaluated again.

    Args:
        name: Name of the run.
        runs_dir: Folder of the runs, as of :func:`search`.
        evaluations: Another number of evaluations in all.
        time_budget: Another search time in all, in seconds or such as ``10m``.
        plateau: Another number of evaluations without growth of the hypervolume that end the search.
        workers: As of :func:`search`, and so are the others.
        cluster: See there.
        evaluation_timeout: See there.
        worker_memory: See there.
        send_data: See there.
        storage: URL of the database that the study is in, where it is not in the run folder.
        progress: See there.

    Raises:
        UserError: There is no such run, or it cannot be gone on with in this way.
        BitfrontError: The search failed; what was evaluated is kept.
    """
    options = WorkerOptions.of(workers, cluster, evaluation_timeout, worker_memory, send_data)
    folder = RunStore(runs_root(runs_dir)).open(name)
    if (folder.path / STORAGE_NOTE).exists() and storage is None:
        url = folder.read_json(STORAGE_NOTE).get("url")
        raise UserError(f"run {folder.name} keeps its study in {url}: give it again with --storage")
    extended = {"evaluations": evaluations, "time_budget": time_budget, "plateau": plateau}
    changes: dict[str, Any] = {name: value for name, value in extended.items() if value is not None}
    spec = dataclasses.replace(folder.read_spec(), **changes)
    options = options.on(spec.evaluation.device)
    return _Session(spec, folder, options, storage, reporter_of(progress), resumed=True).run()


@contextmanager
def _told_how_to_go_on(folder: RunFolder) -> Iterator[None]:
    """Adds to a failure in mid-search that nothing is lost and how to resume."""
    try:
        yield
    except UserError:
        raise
    except BitfrontError as error:
        if not folder.begun:
            raise
        raise BitfrontError(
            f"{error}; every evaluation recorded so far is kept: go on with "
            f"`bitfront search --resume {folder.name}`"
        ) from error


@dataclass(frozen=True)
class _Given:
    """A model and a data set in memory, or None."""

    model: nn.Module | None = None
    data: LabelledImages | None = None

    def written(self, folder: RunFolder, spec: RunSpec, reporter: Reporter) -> RunSpec:
        """The spec that reads what was given from files of the run folder."""
        if self.model is None and self.data is None:
            return spec
        from bitfront.search.session.given_inputs import write_given

        with reporter.stage("writing the model and the images into the run folder") as share_done:
            evaluation = write_given(folder.path, spec.evaluation, self.model, self.data, share_done)
        return dataclasses.replace(spec, evaluation=evaluation)


_NOTHING = _Given()


class _Session:
    """One search in its run folder: prepare, search, measure the front, write."""

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        options: WorkerOptions,
        storage: str | None,
        reporter: Reporter,
        given: _Given = _NOTHING,
        resumed: bool = False,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._options = options
        self._storage = storage
        self._reporter = reporter
        self._given = given
        self._resumed = resumed

    def run(self) -> Run:
        """Searches with the run folder and its study locked, and opens the run."""
        folder, reporter = self._folder, self._reporter
        # What is resumed is there to be kept, however little of it was written.
        kept = nullcontext() if self._resumed else folder.removed_unless_begun()
        with _told_how_to_go_on(folder), folder.lock(), kept, folder.log_file():
            self._spec = self._given.written(folder, self._spec, reporter)
            folder.write_spec(self._spec)
            reporter.note(f"run {folder.name} in {folder.path}")
            if self._options.share_the_machine:
                self._spec = one_thread_each(self._spec)
            with study_lock(self._storage, folder.name):
                result = self._search()
        found = open_run(folder.name, runs_dir=folder.path.parent)
        return dataclasses.replace(found, interrupted=result.reason == INTERRUPTED)

    def _search(self) -> SearchResult:
        """Runs everything and leaves a complete run folder."""
        from bitfront.search.problem.problem import SearchProblem
        from bitfront.search.runs.tables import RunTables

        ready = prepare_run(self._spec, self._folder, self._reporter.stage)
        self._spec = self._with_evaluations(ready)
        evaluator = describe_evaluator(ready.context)
        self._folder.write_json("environment.json", {**describe_environment(), **evaluator})
        self._reporter.note(f"evaluating in {wording.evaluator(evaluator)}")
        for note in [*ready.notes, *evaluator["kernel_notes"]]:
            self._reporter.note(f"note: {note}")
        problem = SearchProblem.from_spec(self._spec, ready.space, ready.costs, ready.references)
        self._folder.write_json("references.json", ready.references.to_json())
        write_space(self._folder.path, ready.space)
        tables = RunTables(self._folder, problem)
        result = self._run_engine(problem, tables, ready)
        self._write_summary(result, ready)
        self._draw()
        if result.front and result.reason != INTERRUPTED:
            try:
                self._measure_front(result, ready, tables)
            except KeyboardInterrupt:
                return dataclasses.replace(result, reason=INTERRUPTED)
            self._draw()
        return result

    def _with_evaluations(self, ready: RunInputs) -> RunSpec:
        """The spec, with the number of evaluations that an unwritten one means for its sampler."""
        if ready.spec.evaluations is not None:
            return ready.spec
        number = default_evaluations(ready.spec.sampler, ready.space)
        spec = dataclasses.replace(ready.spec, evaluations=number)
        self._folder.write_spec(spec)
        return spec

    def _run_engine(self, problem: SearchProblem, tables: RunTables, ready: RunInputs) -> SearchResult:
        from bitfront.search.engine.engine import SearchEngine
        from bitfront.search.runs.study import StudyRecord
        from bitfront.search.runs.tables import FolderWriter
        from bitfront.search.samplers.registry import make_sampler

        spec, folder, storage = self._spec, self._folder, self._storage
        assert spec.evaluations is not None, "the spec is complete"
        sampler = make_sampler(spec.sampler, problem, spec.population, spec.seed, ready.scores)
        known = self._resumed and _has_study(folder, storage)
        begin = StudyRecord.open if known else StudyRecord.create
        started = self._reporter.stage(f"starting workers: {self._options.words}")
        with started if self._options.workers != 0 else nullcontext():
            pool = start_workers(self._options, spec, ready.context)
        try:
            record = begin(folder.path, folder.name, spec, problem, storage)
            if storage is not None:
                folder.write_json(STORAGE_NOTE, {"url": without_password(storage)})
            with self._reporter.search(spec.evaluations) as display:
                budget = Budget(spec.evaluations, spec.time_budget, record.elapsed_s, plateau=spec.plateau)
                observers = (display, FolderWriter(tables, record))
                return SearchEngine(problem, sampler, pool, record, budget, observers).run()
        finally:
            pool.close()

    def _measure_front(self, result: SearchResult, ready: RunInputs, tables: RunTables) -> None:
        from bitfront.search.session.final_measurements import (
            completed_references,
            final_measurements,
            held_out_accuracies,
            whole_latencies,
        )

        points, stage = f"{len(result.front)} front points", self._reporter.stage
        with stage(f"test accuracy of {points} on {len(ready.context.splits.test)} images") as share:
            accuracies, failures = held_out_accuracies(ready.context, ready.space, result.front, share)
        tables.write(result.trials, result.front, final_measurements(accuracies, {}))
        self._write_summary(result, ready, failures)
        batch, timer = ready.costs.latency_batch, ready.timer
        with stage(f"whole-model latency of {points} ({timer.source}), batch {batch}") as share:
            latency, float_ms, eight_bit_ms = whole_latencies(
                ready.context, timer, ready.space, result.front, batch, share
            )
        tables.write(result.trials, result.front, final_measurements(accuracies, latency))
        references = completed_references(ready.context, ready.references, float_ms, eight_bit_ms)
        self._folder.write_json("references.json", references.to_json())

    def _write_summary(
        self, result: SearchResult, ready: RunInputs, test_failures: Mapping[int, str] | None = None
    ) -> None:
        document = {
            **result.to_json(),
            **{name: getattr(self._spec.evaluation, name) for name in ("scheme", "recipe", "without")},
            "latency_batch": ready.costs.latency_batch,
            "latency_note": "; ".join(ready.notes),
            "latency_measured_source": ready.timer.source,
            "skipped_images": ready.context.skipped_images(),
            "test_failures": {str(number): error for number, error in (test_failures or {}).items()},
        }
        self._folder.write_json("summary.json", document)

    def _draw(self) -> None:
        """Draws the run; a plot that fails is told and costs nothing else."""
        from bitfront.search.reports.plots.run_plots import write_plots

        try:
            with self._reporter.stage("drawing plots"):
                write_plots(open_run(self._folder.name, runs_dir=self._folder.path.parent))
        except Exception as error:
            logger.info("the plots could not be drawn", exc_info=True)
            reason = EvaluationFailure.of(error).message
            self._reporter.note(
                f"warning: the plots could not be drawn ({reason}): draw them with `bitfront plot "
                f"{self._folder.name}`"
            )


def _has_study(folder: RunFolder, storage: str | None) -> bool:
    """Whether the run got as far as its study."""
    if storage is None:
        return (folder.path / JOURNAL).exists()
    # The note is written after the study: the process may have been killed in between.
    return (folder.path / STORAGE_NOTE).exists() or has_study(storage, folder.name)
