"""Comparing assignments of a model: uniform, stochastic and searched, as the tables of PoMQ-ViT do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bitfront.evaluators.files import explained, replacing
from bitfront.search.export.selection import KNEE, Choice, choice_text
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.files import read_json
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.names import run_command, runs_root
from bitfront.search.samplers.registry import DRAWS, GENERATIONS, SEARCHES
from bitfront.search.session.compare_work import FIGURES, TABLES, ModelWork
from bitfront.search.session.comparison.model_settings import SETTINGS, ModelSettings
from bitfront.search.session.comparison.settings import open_comparison
from bitfront.search.session.comparison_preparation import ComparisonFolder, working_in
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import completed_spec
from bitfront.search.session.worker_pool import WorkerOptions, given_options, resumed_options, worker_options
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource

COMMAND, RANDOM_WEIGHTS = "compare", "random_weights.safetensors"


@dataclass(frozen=True)
class ModelComparison(ComparisonFolder):
    """Assignments of a model beside each other: float, uniform 8 bit, stochastic and searched.

    Attributes:
        folder: Where evaluations, figures and tables are, and the fronts of its searches as runs.
        figures: What ``comparison.json`` holds.
    """

    shown: ClassVar[tuple[str, ...]] = (FIGURES, *TABLES.values())


def compare(
    spec: RunSpec | None = None,
    *,
    generations: int = GENERATIONS,
    draws: int = DRAWS,
    seeds: int = SEARCHES,
    pick: Choice = KNEE,
    random_weights: bool = False,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    workers: int | WorkerOptions | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> ModelComparison:
    """Compares a searched assignment of a model with uniform 8 bit and with stochastic ones of equal size.

    The problem and the search are those of PoMQ-ViT (Appl. Sci. 2025, 15, 9856): 4 or 8 bits for the weights,
    activations and attention of each encoder, mixed, faster than float and no larger than at 8 bits, searched
    by plain NSGA-II. What is compared is judged on test images, which no search has used. Samplers are
    compared by :func:`bitfront.search.compare_samplers`.

    Args:
        spec: Model, data, quantization, latency and limits, the population and the first seed; its space,
            widths, sampler and budgets do not matter. None for the defaults.
        generations: Of each search.
        draws: Stochastic assignments beside each search.
        seeds: Searches.
        pick: The point of their fronts that is compared, as :meth:`bitfront.search.Run.pick` takes it.
        random_weights: Whether the model gets random weights: a dry run, whose accuracies mean nothing.
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
    settings = ModelSettings(spec or RunSpec(), generations, draws, seeds, choice_text(pick), random_weights)
    asked, source = completed_spec(settings.spec)
    if random_weights and (asked.evaluation.checkpoint or asked.evaluation.pretrained):
        raise UserError("--random-weights takes no other weights: leave --checkpoint and --pretrained out")
    given = given_options(workers)
    worker_options(given, asked.evaluation.device)  # before a folder is made
    store = RunStore(runs_root(runs_dir))
    folder = store.create(name or store.default_name(f"{COMMAND}-{asked.evaluation.model}"))
    return _compared(dataclasses.replace(settings, spec=asked), folder, given, reporter_of(progress), source)


def resume_compare(
    name: str,
    *,
    generations: int | None = None,
    draws: int | None = None,
    seeds: int | None = None,
    pick: Choice | None = None,
    runs_dir: str | Path | None = None,
    workers: int | WorkerOptions | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> ModelComparison:
    """Goes on with a comparison, whose settings stay where they are None.

    Raises:
        UserError: There is no such comparison, or it cannot go on so.
        BitfrontError: No configuration met the limits, or nothing could be evaluated.
        KeyboardInterrupt: Ctrl-C came before any search was finished.
    """
    folder = RunFolder(open_comparison(RunStore(runs_root(runs_dir)), name, SETTINGS, COMMAND))
    picked = None if pick is None else choice_text(pick)
    asked = {"generations": generations, "draws": draws, "seeds": seeds, "pick": picked}
    written: dict[str, Any] = {field: value for field, value in asked.items() if value is not None}
    settings = dataclasses.replace(ModelSettings.read(folder.path), **written)
    given, note = resumed_options(folder, given_options(workers))
    told = reporter_of(progress)
    if note:
        told.note(note)
    return _compared(settings, folder, given, told, None)


def open_compared(name: str, runs_dir: str | Path | None = None) -> ModelComparison:
    """A comparison as far as it came.

    Raises:
        UserError: There is none of this name, or nothing was evaluated yet.
    """
    path = open_comparison(RunStore(runs_root(runs_dir)), name, SETTINGS, COMMAND)
    absent: dict[str, Any] = {}
    figures = read_json(path / FIGURES, dict, absent)
    if not figures:
        raise UserError(f"comparison {name} has no figures yet: go on with `{resume_command(path)}`")
    return ModelComparison(path, figures)


def resume_command(folder: Path) -> str:
    """The command that goes on with a comparison."""
    return run_command(folder, COMMAND, "--resume", folder.name)


def _compared(
    settings: ModelSettings,
    folder: RunFolder,
    given: WorkerOptions,
    reporter: Reporter,
    source: LatencySource | None,
) -> ModelComparison:
    """Runs a comparison; only a new one has its latency source already."""
    workers = worker_options(given, settings.spec.evaluation.device)
    with working_in(folder, resume_command(folder.path), given, reporter, new=source is not None):
        if settings.random_weights:
            settings = _with_random_weights(settings, folder, reporter)
        settings.write(folder.path)
        work = ModelWork(settings, folder, workers, reporter)
        return ModelComparison(folder.path, work.run(source))


def _with_random_weights(settings: ModelSettings, folder: RunFolder, reporter: Reporter) -> ModelSettings:
    """Random weights as a file of the comparison, so that every worker has the same."""
    from safetensors.torch import save_file

    from bitfront.evaluators.models.loading import load_model

    spec, path = settings.spec.evaluation, folder.path.absolute() / RANDOM_WEIGHTS
    if not path.exists():
        with reporter.stage(f"random weights of {spec.model}"), explained(path), replacing(path) as part:
            made = load_model(spec.model, untrained=True, options=spec.image_options)
            save_file({name: value.contiguous() for name, value in made.module.state_dict().items()}, part)
    spec = dataclasses.replace(spec, checkpoint=str(path), allow_chance=True)
    return dataclasses.replace(settings, spec=dataclasses.replace(settings.spec, evaluation=spec))
