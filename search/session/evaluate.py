"""Evaluating one configuration: accuracy, latency and size beside the float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.registry import load_in_words
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.quality import Errors, PairedComparison
from bitfront.search.problem.resolution import Resolution
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import check_same, chosen_latency, settled_spec, spec_and_config
from bitfront.spaces import BitConfig, Triple, triples
from bitfront.spaces.quantities import count_of
from bitfront.spaces.schemes import AUTO

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.data.given_images import LabelledImages
    from bitfront.evaluators.latency.source import LatencySource

UNIFORM = "W8A8T8"


@dataclass(frozen=True)
class Evaluation:
    """One configuration beside the float model, on the test split.

    Shares are in percent, losses in nats, sizes in bytes, latencies in milliseconds of one batch.
    Differences are those to the float model on the same images; in :meth:`to_json`, figures of the float
    model begin with ``fp32``.

    Attributes:
        task: What outputs are judged by.
        compared: The comparison with the float model, by images that one of both gets right.
        counted: Name of the metric that is the share of these, such as ``top1``.
        values: Metrics of the configuration by name.
        fp32_values: Those of the float model.
        errors: Standard errors of the metrics, by name.
        images_per_second: When accuracy is evaluated, not when the model is served.
        latency_source: Where latencies come from, such as ``measured:torch``.
        test_data: Where the test images come from, if not from ``data``.
        skipped_images: Why images of the data were left out, a sentence each.
        refinement: What was learned for the configuration, if it is refined.
    """

    model: str
    weights: str
    data: str
    task: str
    scheme: str
    recipe: str
    without: list[str]
    observer: str | None
    digest: str
    encoders: int
    skipped_images: list[str]
    compared: PairedComparison
    counted: str
    values: Mapping[str, float]
    fp32_values: Mapping[str, float]
    errors: Mapping[str, Errors]
    size_bytes: int
    fp32_size_bytes: int
    images_per_second: float
    fp32_images_per_second: float
    device: str
    batch_size: int
    threads: int
    kernels: str
    kernel_notes: list[str]
    latency_ms: float
    fp32_latency_ms: float
    latency_source: str
    latency_batch: int
    latency_threads: int
    latency_notes: list[str]
    test_data: str | None = None
    refinement: str | None = None

    @property
    def images(self) -> int:
        """Images of the test split."""
        return self.compared.images

    @property
    def resolution(self) -> Resolution:
        """What the test images tell of such a difference to the float model."""
        return Resolution.of(self.images, self.compared.lost + self.compared.won)

    def __getitem__(self, metric: str) -> float:
        """A metric of the configuration, such as ``top1``; KeyError where it was not measured."""
        return self.values[metric]

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        document: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.name == "compared":
                document |= self.compared.to_json(self.counted)
            elif field.name == "values":
                document |= self._metrics()
            elif field.name in ("test_data", "refinement") and getattr(self, field.name) is None:
                continue
            elif field.name not in ("counted", "fp32_values", "errors"):
                document[field.name] = getattr(self, field.name)
        return document | {"told_apart": self.resolution.points}

    def _metrics(self) -> dict[str, Any]:
        """Every metric of both models, with the standard errors that are known."""
        found: dict[str, Any] = {"metrics": list(self.values)}
        for side, values in (("", self.values), ("fp32_", self.fp32_values)):
            for name, value in values.items():
                found[f"{side}{name}"] = value
                if name in self.errors:
                    errors = self.errors[name]
                    found[f"{side}{name}_standard_error"] = errors.reference if side else errors.value
        for name, value in self.fp32_values.items():
            if name in self.errors and name != self.counted:
                found[f"{name}_difference"] = self.values[name] - value
                found[f"{name}_difference_standard_error"] = self.errors[name].difference
        return found


def evaluate(
    spec: EvaluationSpec | None = None,
    config: BitConfig | str | Path = UNIFORM,
    *,
    latency: str = AUTO,
    latency_batch: int | None = None,
    latency_threads: int | None = None,
    model: nn.Module | None = None,
    data: LabelledImages | None = None,
    calibration_data: LabelledImages | None = None,
    test_data: LabelledImages | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Evaluation:
    """Measures one configuration on the test split: accuracy, latency and size, beside the float model.

    Args:
        spec: Model, data and quantization; its formats are those of the configuration. None for what the file
            of the configuration was found under, or else the defaults.
        config: The configuration, its file (a bit config or an exported model), or the same formats in every
            encoder such as ``W8A8T4``.
        latency: Latency source, such as ``measured:torch``, ``table:FILE`` or ``model:bops``; ``auto`` for a
            runtime of this machine that suits the scheme.
        latency_batch: Images of the batch that latencies are for; None for the table's, or 1.
        latency_threads: Threads of the inference that they are for; None for the table's, or 1.
        model: A timm model in memory, instead of that of the spec.
        data: A map-style data set of images and labels, instead of that of the spec.
        calibration_data: Such a data set for calibration alone.
        test_data: Such a data set for the test split alone.
        progress: Is told of the steps.

    Raises:
        UserError: The configuration, the model or the data cannot be used.
    """
    from bitfront.search.session.given_inputs import given_inputs

    spec, wanted = spec_and_config(spec, config)
    if isinstance(wanted, BitConfig) and spec.scheme == AUTO:
        spec = dataclasses.replace(spec, scheme=wanted.scheme)
    spec, latency = settled_spec(spec, latency)
    with given_inputs(spec, model, data, calibration_data, test_data) as given:
        if isinstance(wanted, BitConfig):
            check_same("the bit config", wanted, given)
        load = latency_batch, latency_threads
        return _evaluated(given, wanted, latency, load, reporter_of(progress))


def _evaluated(
    spec: EvaluationSpec,
    wanted: BitConfig | Triple,
    latency: str,
    asked: tuple[int | None, int | None],
    reporter: Reporter,
) -> Evaluation:
    from bitfront.evaluators.context.context import EvaluationContext

    source, batch = chosen_latency(latency, spec.scheme, *asked)
    with reporter.stage(preparing(spec)) as share_done:
        keep_codes = source.measured and source.timer.needs_codes
        context = EvaluationContext.from_spec(spec, share_done, keep_codes, reporter.note)
    if not isinstance(wanted, BitConfig):
        wanted = BitConfig.uniform(spec.model, spec.scheme, context.encoders, wanted)
    with reporter.stage(
        f"classifying {count_of(len(context.splits.test), 'test image')}, float and quantized"
    ):
        figures = _figures(context, wanted) | context.describe()
    with reporter.stage(f"latency ({latency}), {load_in_words(batch, source.timer.threads)}") as share_done:
        figures |= _latencies(source, batch, context, wanted, share_done)
    return Evaluation(**figures)


def _figures(context: EvaluationContext, config: BitConfig) -> dict[str, Any]:
    """What a configuration is worth on the test split beside the float model, and its size."""
    spec, task = context.spec, context.task
    judged = task.measured(spec.metrics)
    quantized, errors = context.quality_with_errors(config, "test", judged)
    whole = context.float_quality("test")
    relative = {metric.name for metric in judged if metric.relative}
    return {
        **{
            name: getattr(spec, name)
            for name in ("model", "data", "test_data", "task", "recipe", "observer", "refinement")
        },
        "weights": context.model.weights,
        "scheme": config.scheme,
        "without": list(spec.without),
        "digest": config.digest,
        "encoders": len(context.encoders),
        "skipped_images": list(context.images("test").skipped),
        "compared": quantized.against_float,
        "counted": task.counted,
        "values": quantized.values,
        "fp32_values": {name: value for name, value in whole.values.items() if name not in relative},
        "errors": errors,
        "size_bytes": context.size.size_bytes(config),
        "fp32_size_bytes": context.size.float_bytes(),
        "images_per_second": quantized.images / quantized.seconds,
        "fp32_images_per_second": whole.images / whole.seconds,
    }


def _latencies(
    source: LatencySource, batch: int, context: EvaluationContext, config: BitConfig, share_done: ShareDone
) -> dict[str, Any]:
    """Latency of the whole model where it is measured, from the table's sum otherwise."""
    from bitfront.evaluators.latency.measured import measure_models
    from bitfront.evaluators.latency.table import TableLatency, timed_encoders
    from bitfront.evaluators.latency.timed_runtime import Subject

    subject = Subject(context.prepared, context.model.module)
    if source.measured:
        float_entry, (entry,) = measure_models(source.timer, subject, [config], batch, progress=share_done)
        own, whole, named = entry.milliseconds, float_entry.milliseconds, source.timer.source
    else:
        table = source.table(subject, batch, share_done)
        latency = TableLatency(
            table, timed_encoders(context.prepared.blueprint), triples(context.spec.choices)
        )
        own, whole, named = latency.latency_ms(config), table.float_model.milliseconds, table.source
    return {
        "latency_ms": own,
        "fp32_latency_ms": whole,
        "latency_source": named,
        "latency_batch": batch,
        "latency_threads": source.timer.threads,
        "latency_notes": list(source.notes(context.spec.choices.every)),
    }
