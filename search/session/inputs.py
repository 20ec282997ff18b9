"""Inputs of a run: model, latency table, reference models and the search problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.splits import most_search_images
from bitfront.evaluators.latency.costs import ModelCosts, Sizes
from bitfront.evaluators.latency.table import TableLatency, timed_encoders
from bitfront.evaluators.models.digits_models import has_weights
from bitfront.evaluators.progress import ShareDone
from bitfront.search.problem.kept_genes import KeptGenes, genes_to_keep, kept_at_widest
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import EIGHT_BIT_NAME, FLOAT_NAME, Reference, References
from bitfront.search.problem.resolution import Resolution
from bitfront.search.problem.spec import PACKED, RunSpec
from bitfront.search.problem.wording import quantization
from bitfront.search.runs.folder import GENE_SCORES, SPACE, SPECTRAL_SCORES, SPLITS, RunFolder, read_space
from bitfront.search.runs.recorded_costs import write_encoders
from bitfront.search.samplers.known_scores import GRADIENT, SPECTRAL, KnownScores
from bitfront.search.samplers.registry import scores_of
from bitfront.search.session.further_costs import further_costs
from bitfront.spaces import BitConfig, SearchSpace, UserError, triples
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.evaluators.latency.table import LatencyTable
    from bitfront.evaluators.latency.timed_runtime import TimedRuntime
    from bitfront.evaluators.sensitivity.gene_scores import GeneScores
    from bitfront.evaluators.sensitivity.spectral import SpectralScores

LATENCY_TABLE = "latency_table.csv"
FALLBACK = "model:bops"
MODELLED_NOTE = f"Latencies of this run are modelled ({FALLBACK}), not measured."
# Built-in models are so small that calling kernels takes much of their time: a measured lead below this
# factor is within the noise of the machine.
LEAD_OF_BUILT_IN = 1.25
Stage = Callable[[str], AbstractContextManager[ShareDone]]


@dataclass(frozen=True)
class RunInputs:
    """Everything a search needs before its first evaluation.

    Attributes:
        spec: The run's settings, with those that were left to be measured.
        context: The calibrated model and its data.
        space: The search space.
        costs: Latency and size of configurations.
        references: The float and the uniform 8-bit model on the search split.
        timer: What times the whole models of the finished front.
        scores: Sensitivities of the genes, as far as the sampler begins with them.
        notes: What the user must know of the latency source.
        resolution: What the search images tell apart.
        kept_note: Which genes are not searched because nothing narrower pays, in one line; empty for none.
    """

    spec: RunSpec
    context: EvaluationContext
    space: SearchSpace
    costs: ModelCosts
    references: References
    timer: TimedRuntime
    scores: KnownScores
    notes: tuple[str, ...]
    resolution: Resolution
    kept_note: str = ""

    def told(self) -> list[str]:
        """What the search images tell apart, and a warning for every limit that is finer."""
        task = self.context.task
        words = self.resolution.words("search", task.metric(task.counted).title)
        return [words, *(f"warning: {warning}" for warning in self.resolution.warnings())]


def prepare_run(
    spec: RunSpec,
    folder: RunFolder,
    stage: Stage,
    source: LatencySource | None = None,
    note: Callable[[str], None] | None = None,
    samplers: Sequence[str] = (),
) -> RunInputs:
    """Loads and prepares the model, finds its latencies and scores the reference models.

    A latency table that the run folder has already, from an earlier part of the run, is taken as it is.

    Args:
        spec: The run's settings.
        folder: Its folder; receives ``latency_table.csv``, ``splits.json`` and the resolved ``spec.json``.
        stage: Shows a step while it runs.
        source: The latency source of a new run; that of a resumed one is found in its folder.
        note: Is told what the float model is worth before anything long begins, where the run is a new one:
            that of a resumed one has been taken.
        samplers: Those that will search; none for that of the spec.

    Raises:
        UserError: The spec cannot be carried out.
    """
    from bitfront.evaluators.context.context import EvaluationContext

    evaluation = spec.evaluation
    source = source or _run_source(spec, folder.path / LATENCY_TABLE)
    with stage(preparing(evaluation)) as share_done:
        told = None if (folder.path / SPLITS).exists() else note
        context = EvaluationContext.from_spec(evaluation, share_done, source.timer.needs_codes, told)
    _keep_splits(folder, context)
    # From here on the settings that were measured are the run's own: workers and a resumed run take them.
    spec = dataclasses.replace(spec, evaluation=context.spec)
    folder.write_spec(spec)
    space = SearchSpace(
        evaluation.model, evaluation.scheme, context.encoders, evaluation.choices, spec.space, spec.fixed
    )
    write_encoders(folder, timed_encoders(context.prepared.blueprint))
    costs, notes = _costs(spec, source, folder, context, space, stage)
    further, further_notes = further_costs(spec, folder, context, costs.latency_batch)
    costs, notes = dataclasses.replace(costs, further=further), (*notes, *_noisy(costs), *further_notes)
    with stage(f"scoring the float and 8-bit models on {count_of(len(context.splits.search), 'image')}"):
        references, seconds = _references(context, costs)
    resolution = _resolution(spec, context, references, seconds)
    kept = _kept_genes(spec, folder, SearchProblem.from_spec(spec, space, costs, references))
    space = space.keeping(kept.bits)
    scores = _known_scores(scores_of(samplers or (spec.sampler,)), folder, context, space, stage)
    return RunInputs(
        spec, context, space, costs, references, source.timer, scores, notes, resolution, kept.note
    )


def _kept_genes(spec: RunSpec, folder: RunFolder, problem: SearchProblem) -> KeptGenes:
    """The genes that are not searched; a run that has its space already keeps those of that."""
    if (folder.path / SPACE).exists():
        return kept_at_widest(problem, read_space(folder.path).kept)
    return KeptGenes({}) if spec.all_genes else genes_to_keep(problem)


def _known_scores(
    wanted: Collection[str], folder: RunFolder, context: EvaluationContext, space: SearchSpace, stage: Stage
) -> KnownScores:
    """Sensitivities that samplers begin with."""
    gradient = _gradient_scores(folder, context, space, stage) if GRADIENT in wanted else None
    spectral = _spectral_scores(folder, context, space, stage).values if SPECTRAL in wanted else None
    return KnownScores(gradient, spectral)


def _gradient_scores(
    folder: RunFolder, context: EvaluationContext, space: SearchSpace, stage: Stage
) -> GeneScores:
    """Gradient scores; those that the run folder has are kept."""
    from bitfront.evaluators.sensitivity.gene_scores import GeneScores, gene_scores

    if (folder.path / GENE_SCORES).exists():
        scores = GeneScores.from_json(folder.read_json(GENE_SCORES))
        if scores.names == space.gene_names:
            return scores
        # Those of an earlier version, which searched all genes, that was stopped before its first evaluation.
    with stage(f"gradient scores of {count_of(len(space), 'gene')}") as share_done:
        scores = gene_scores(context, space, share_done)
    folder.write_json(GENE_SCORES, scores.to_json())
    # Read in any case: a resumed run must begin with the same numbers.
    return GeneScores.from_json(folder.read_json(GENE_SCORES))


def _spectral_scores(
    folder: RunFolder, context: EvaluationContext, space: SearchSpace, stage: Stage
) -> SpectralScores:
    """Spectral sensitivities; those that the run folder has are kept, so that a resumed run has the same."""
    from bitfront.evaluators.sensitivity.spectral import SpectralScores, spectral_scores

    if (folder.path / SPECTRAL_SCORES).exists():
        found = SpectralScores.from_json(folder.read_json(SPECTRAL_SCORES))
        if found.names == space.gene_names:
            return found
    with stage(f"spectral sensitivities of {count_of(len(space), 'gene')}") as share_done:
        found = spectral_scores(context, space, share_done)
    folder.write_json(SPECTRAL_SCORES, found.to_json())
    return SpectralScores.from_json(folder.read_json(SPECTRAL_SCORES))


def preparing(evaluation: EvaluationSpec) -> str:
    """What building a context is called while it runs."""
    how = quantization(evaluation.to_json())
    return f"preparing {evaluation.model} ({how}) on {count_of(evaluation.calibration_images, 'image')}"


def _keep_splits(folder: RunFolder, context: EvaluationContext) -> None:
    """Records the splits; a run that has some must keep them.

    Raises:
        UserError: The data are not those that the run began with.
    """
    splits = context.splits.to_json()
    if (folder.path / SPLITS).exists() and folder.read_json(SPLITS) != splits:
        raise UserError(
            f"the images of {context.source.name} are not those that run {folder.name} began with: bring "
            "them back, or start a new run with --run"
        )
    folder.write_json(SPLITS, splits)


def _run_source(spec: RunSpec, table: Path) -> LatencySource:
    """The latency source of a run, which may have its table already."""
    from bitfront.evaluators.latency.source import latency_source, resumed_source
    from bitfront.evaluators.latency.table_file import read_table

    if table.exists():
        return resumed_source(spec.latency, spec.evaluation.scheme, read_table(table))
    return latency_source(spec.latency, spec.evaluation.scheme)


def _costs(
    spec: RunSpec,
    source: LatencySource,
    folder: RunFolder,
    context: EvaluationContext,
    space: SearchSpace,
    stage: Stage,
) -> tuple[ModelCosts, tuple[str, ...]]:
    from bitfront.evaluators.context.preparing import prepared_choices
    from bitfront.evaluators.latency.source import latency_source
    from bitfront.evaluators.latency.table_file import read_table, table_csv
    from bitfront.evaluators.latency.timed_runtime import Subject

    sizes = _sizes(spec, folder.name, context)
    path, notes = folder.path / LATENCY_TABLE, source.notes(prepared_choices(context.spec).every)
    if path.exists():
        table = read_table(path)
        fallen_back = source.measured and table.source == FALLBACK
        return _model_costs(table, context, sizes), (MODELLED_NOTE,) if fallen_back else notes
    subject = Subject(context.prepared, context.model.module)
    with stage(f"latency of encoders ({spec.latency})") as share_done:
        table = source.table(subject, spec.latency_batch or 1, share_done)
    costs = _model_costs(table, context, sizes)
    least = costs.minimum_latency_ms(space, spec.structural)
    lead = LEAD_OF_BUILT_IN if has_weights(spec.evaluation.model) else 1.0
    slower = lead * least > costs.float_latency_ms
    if source.measured and slower and not spec.allow_slower:
        notes = (_slower_than_float(spec, least, costs.float_latency_ms),)
        table = latency_source(FALLBACK, spec.evaluation.scheme).table(subject, 1)
        costs = _model_costs(table, context, sizes)
    folder.write_text(LATENCY_TABLE, table_csv(table))
    return costs, notes


def _sizes(spec: RunSpec, name: str, context: EvaluationContext) -> Sizes:
    """Sizes of the files that the spec bounds."""
    if spec.size_of in ("", PACKED):
        return context.size
    from bitfront.evaluators.deployment.file_sizes import GRAPH_FILES, GraphSizes
    from bitfront.search.session.writing import expected_documents

    return GraphSizes(
        GRAPH_FILES[spec.size_of](),
        context.prepared,
        context.spec.whole_recipe,
        expected_documents(spec, name, context),
    )


def _noisy(costs: ModelCosts) -> tuple[str, ...]:
    """What to say of latencies that other work disturbed, or whose sums miss whole models."""
    from bitfront.evaluators.latency.table import MOST_SUM_ERROR

    if costs.latency_noise <= MOST_SUM_ERROR:
        return ()
    return (
        "WARNING: latencies are unsure, as where other work runs on the machine: differences below "
        f"{costs.latency_noise:.0%} count as none; measure again on a quiet one",
    )


def _slower_than_float(spec: RunSpec, least: float, whole: float) -> str:
    """What to say of the fallback to a modelled latency.

    Raises:
        UserError: The model is none that comes with weights, whose searches must run everywhere.
    """
    fact = (
        f"constraint 3 (faster than float) is not met by measurement here, or within its noise: the quickest "
        f"configuration takes {least:.4g} ms, the float model {whole:.4g} ms"
    )
    if any(limit.column == "latency_ms" and limit.absolute for limit in spec.limits):
        raise UserError(
            f"{fact}; --max-latency {spec.max_latency} cannot be judged on modelled times: give a share such "
            "as 0.9x, or --latency table:FILE"
        )
    if not has_weights(spec.evaluation.model):
        raise UserError(
            f"{fact}; search with --latency table:FILE of the target machine, or with --latency {FALLBACK} "
            "(modelled), or try another --latency-batch, or --allow-slower"
        )
    return f"{fact}. {MODELLED_NOTE}"


def _model_costs(table: LatencyTable, context: EvaluationContext, sizes: Sizes) -> ModelCosts:
    needed = {*triples(context.spec.choices), (8, 8, 8)}
    return ModelCosts(TableLatency(table, timed_encoders(context.prepared.blueprint), needed), sizes)


def eight_bit_config(context: EvaluationContext) -> BitConfig:
    """The uniform 8-bit configuration."""
    return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, (8, 8, 8))


def _resolution(
    spec: RunSpec, context: EvaluationContext, references: References, seconds: float
) -> Resolution:
    """What the search images tell apart; ``seconds`` is how long an evaluation of all of them takes."""
    evaluation, eight = spec.evaluation, references.eight_bit
    available = most_search_images(context.source, evaluation.calibration_images, evaluation.test_images)
    changed = (eight.lost or 0) + (eight.won or 0)
    return Resolution.of(len(context.images("search")), changed, available, seconds, spec.limits)


def _references(context: EvaluationContext, costs: ModelCosts) -> tuple[References, float]:
    """The reference models, and the seconds that one of them took for the search images."""
    whole, config = context.float_quality(), eight_bit_config(context)
    eight = context.quality(config)
    float_model = Reference(
        FLOAT_NAME,
        costs.float_latency_ms,
        costs.float_size_bytes,
        whole.values,
        latency_source=costs.latency_source,
        classes=context.model.classes,
        images=whole.images,
        test_images=len(context.splits.test),
        right=whole.right,
        costs={column: cost.float_value for column, cost in costs.further.items()},
    )
    eight_bit = dataclasses.replace(
        float_model,
        name=EIGHT_BIT_NAME,
        latency_ms=costs.latency_ms(config),
        size_bytes=costs.size_bytes(config),
        values=eight.values,
        lost=eight.lost,
        won=eight.won,
        right=eight.right,
        costs={column: cost.of(config) for column, cost in costs.further.items()},
    )
    return References(float_model, eight_bit), eight.seconds
