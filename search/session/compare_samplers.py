"""Comparing samplers: a model is prepared once, all searches run on it, and what they found is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bitfront.evaluators.files import write_atomically
from bitfront.search.problem.spec import RunSpec
from bitfront.search.reports.comparison import csv_text, markdown, title
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.names import run_command, runs_root
from bitfront.search.samplers.registry import COMPARED_SAMPLERS, COMPARED_SEEDS, DEFAULT_EVALUATIONS
from bitfront.search.session.comparison.settings import ComparisonSettings, open_comparison, parse_samplers
from bitfront.search.session.comparison_preparation import ComparisonFolder, prepare_comparison, working_in
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import completed_spec
from bitfront.search.session.worker_pool import WorkerOptions, given_options, resumed_options, worker_options
from bitfront.spaces import BitfrontError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.search.problem.trial import Trial
    from bitfront.search.session.comparison.searches import FinishedSearch, SharedSearches

MARKDOWN, PICTURE, CURVES = FILES = ("comparison.md", "comparison.png", "curves.csv")


@dataclass(frozen=True)
class Comparison(ComparisonFolder):
    """Samplers beside each other on the same problem.

    Attributes:
        folder: Where the evaluations, the table, the curves and the picture are.
        figures: The problem, and for each sampler its hypervolume after equal numbers of evaluations.
    """

    shown: ClassVar[tuple[str, ...]] = FILES


def compare_samplers(
    spec: RunSpec | None = None,
    samplers: str | Sequence[str] = COMPARED_SAMPLERS,
    *,
    seeds: int = COMPARED_SEEDS,
    truth: bool = False,
    tested: bool = False,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    workers: int | WorkerOptions | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Comparison:
    """Runs several samplers with several seeds on one problem; evaluations are paid for once and shared.

    What a search is worth beside uniform and random assignments is told by :func:`bitfront.search.compare`.

    Args:
        spec: The problem, the evaluations of each search and the first seed; its sampler and population do
            not matter. None for the defaults.
        samplers: Names with commas between, or a list.
        seeds: Searches with each sampler.
        truth: Whether all configurations of a small space are evaluated first, to know the true front.
        tested: Whether fronts are judged by the test images as well, which no search has used.
        name: Of the comparison; None for one of the model and the time.
        runs_dir: Folder that it goes to; None for that of the runs.
        workers: Processes that evaluate, as of :func:`bitfront.search.search`.
        progress: Is told of the steps.

    Returns:
        What was found, Ctrl-C ending it early.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: No configuration met the limits, or nothing could be evaluated.
        KeyboardInterrupt: Ctrl-C came before any search was finished.
    """
    names = parse_samplers(samplers)
    spec, source = completed_spec(spec or RunSpec())
    given = given_options(workers)
    worker_options(given, spec.evaluation.device)  # before a folder is made
    store = RunStore(runs_root(runs_dir))
    folder = store.create(name or store.default_name(f"compare-{spec.evaluation.model}"))
    settings = ComparisonSettings(spec, names, seeds, truth, tested)
    return _compared(settings, folder, given, reporter_of(progress), source)


def resume_comparison(
    name: str,
    *,
    samplers: str | Sequence[str] | None = None,
    seeds: int | None = None,
    evaluations: int | None = None,
    truth: bool = False,
    tested: bool = False,
    runs_dir: str | Path | None = None,
    workers: int | WorkerOptions | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Comparison:
    """Goes on with a comparison, whose settings stay; None leaves samplers, seeds and evaluations, too.

    Raises:
        UserError: There is no such comparison, or it cannot go on so.
        BitfrontError: No configuration met the limits, or nothing could be evaluated.
        KeyboardInterrupt: Ctrl-C came before any search was finished.
    """
    path = open_comparison(RunStore(runs_root(runs_dir)), name)
    settings = ComparisonSettings.read(path)
    changes: dict[str, Any] = {"truth": settings.truth or truth, "tested": settings.tested or tested}
    if samplers is not None:
        changes["samplers"] = parse_samplers(samplers)
    if seeds is not None:
        changes["seeds"] = seeds
    if evaluations is not None:
        changes["spec"] = dataclasses.replace(settings.spec, evaluations=evaluations)
    settings = dataclasses.replace(settings, **changes)
    given, note = resumed_options(RunFolder(path), given_options(workers))
    told = reporter_of(progress)
    if note:
        told.note(note)
    return _compared(settings, RunFolder(path), given, told, None)


def resume_command(folder: Path) -> str:
    """The command that goes on with a comparison."""
    return run_command(folder, "compare-samplers", "--resume", folder.name)


def _compared(
    settings: ComparisonSettings,
    folder: RunFolder,
    given: WorkerOptions,
    reporter: Reporter,
    source: LatencySource | None,
) -> Comparison:
    """Runs a comparison; only a new one has its latency source already."""
    workers = worker_options(given, settings.spec.evaluation.device)
    with working_in(folder, resume_command(folder.path), given, reporter, new=source is not None):
        settings.write(folder.path)
        return Comparison(folder.path, _figures(settings, folder, workers, reporter, source))


def _figures(
    settings: ComparisonSettings,
    folder: RunFolder,
    workers: WorkerOptions,
    reporter: Reporter,
    source: LatencySource | None,
) -> Mapping[str, Any]:
    """Runs what is not finished yet; returns the document, whose files are written."""
    from bitfront.search.engine.result import nothing_feasible
    from bitfront.search.reports.plots.comparison import draw_comparison
    from bitfront.search.samplers.exhaustive import check_exhaustible
    from bitfront.search.session.comparison.document import comparison_document
    from bitfront.search.session.comparison.test_images import on_test_images

    def settled(spec: RunSpec) -> None:
        dataclasses.replace(settings, spec=spec).write(folder.path)

    prepared = prepare_comparison(
        settings.spec, folder, workers, reporter, source, settled, settings.samplers
    )
    ready, problem, spec = prepared.ready, prepared.problem, prepared.ready.spec
    if settings.truth or "exhaustive" in settings.samplers:
        check_exhaustible(problem.space)  # before minutes are spent
    with prepared.searches() as shared:
        everything, searches = _searched(settings, shared, reporter, problem.space.cardinality)
    if not searches:
        raise KeyboardInterrupt
    found = [trial for searched in searches for trial in searched.trials]
    if not any(trial.feasible for trial in everything or found):
        raise BitfrontError(nothing_feasible(everything or found, problem.limits))
    budget = spec.evaluations or DEFAULT_EVALUATIONS
    tested = {}
    if settings.tested:
        images = len(ready.context.splits.test)
        with reporter.stage(f"test accuracy of the fronts on {count_of(images, 'image')}") as share_done:
            tested["test"] = on_test_images(
                problem, searches, budget, ready.context, ready.references, folder.path, share_done
            )
    document = {
        "comparison": folder.name,
        **{name: getattr(spec.evaluation, name) for name in ("model", "data", "scheme", "recipe")},
        "space": spec.space,
        **comparison_document(problem, searches, everything, budget),
        **tested,
        "evaluated": len(shared.evaluations),
        "latency_source": problem.cost.latency_source,
        "kept_genes": dict(ready.space.kept),
        "notes": list(prepared.notes),
        "resolution": ready.resolution.to_json(),
        "interrupted": len(searches) < len(list(settings.entries())),
    }
    write_atomically(folder.path / CURVES, csv_text(document))
    write_atomically(folder.path / MARKDOWN, markdown(document))
    draw_comparison(document, folder.path / PICTURE, title(document))
    return document


def _searched(
    settings: ComparisonSettings, shared: SharedSearches, reporter: Reporter, count: int
) -> tuple[Sequence[Trial] | None, list[FinishedSearch]]:
    """The trials of all configurations where they are known, and the searches as far as they came."""
    everything = None
    if settings.truth:
        with reporter.stage(f"evaluating all {count_of(count, 'configuration')}") as share_done:
            everything = shared.evaluate_all(settings.spec.seed, share_done)
        if everything is None:
            raise KeyboardInterrupt
    names = ", ".join(settings.samplers)
    seeds = count_of(settings.seeds, "seed")
    with reporter.stage(f"searching with {names}; {seeds}") as share_done:
        return everything, shared.run(list(settings.entries()), share_done)
