"""The evaluation context: a calibrated model with its data, built once per process and asked often."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from bitfront.evaluators.context.class_order import in_decided_order
from bitfront.evaluators.context.float_check import check_float_model
from bitfront.evaluators.context.inspection import Inspector, inspect, name_float_fault
from bitfront.evaluators.context.kept_setting import keep_batch_size, kept_batch_size, machine_key
from bitfront.evaluators.context.machine import available_cpus, device_named
from bitfront.evaluators.context.preparing import (
    REFERENCE_BITS,
    calibrated_for,
    check_classes,
    compute_in_float32,
    prepared_with,
    preparing_threads,
    refined_with,
    source_of,
    splits_of,
    task_blueprint,
)
from bitfront.evaluators.context.screening import first_images, growing, hopeless
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import (
    BATCHES,
    CUDA_BATCHES,
    Setting,
    classify_batches,
    covered_seconds,
    measure_throughput,
    thread_counts,
    torch_threads,
)
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, check_labels
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.model import NotFiniteError, QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.tasks.metric import Metric, Outputs
from bitfront.evaluators.tasks.quality import Draws, Errors, Quality, standard_errors
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import BitConfig, BitfrontError, EncoderLayers, QuantSite

SplitName = Literal["calibration", "search", "test"]


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """A model prepared at every precision, and the images it is judged on.

    Attributes:
        spec: What it was built from.
        model: The float model.
        source: Where the images come from.
        splits: Which images calibrate, steer the search and report.
        prepared: The quantized model at every precision.
        sites: Its quantization sites.
        size: Sizes of its packed files.
        calibration: Digest of what calibration decided.
        skipped_calibration: Why unreadable calibration images were left out.
    """

    spec: EvaluationSpec
    model: LoadedModel
    source: ImageSource
    splits: Splits
    prepared: PreparedModel
    sites: tuple[QuantSite, ...]
    size: SizeModel
    calibration: str
    skipped_calibration: tuple[str, ...] = ()
    # In the context itself, which nothing else keeps alive: a worker goes through many of them.
    _loaded: dict[SplitName, PreprocessedImages] = field(default_factory=dict, init=False, repr=False)
    _float_runs: dict[SplitName, tuple[torch.Tensor, float]] = field(
        default_factory=dict, init=False, repr=False
    )
    _float_draws: dict[SplitName, Draws] = field(default_factory=dict, init=False, repr=False)
    # One number, or none before it is fitted.
    _temperature: list[float] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def from_spec(
        cls,
        spec: EvaluationSpec,
        progress: ShareDone = unreported,
        keep_codes: bool = False,
        note: Callable[[str], None] | None = None,
    ) -> EvaluationContext:
        """Loads the model and the data, calibrates and prepares.

        Args:
            spec: What to build.
            progress: Is told the share of the preparation that is done.
            keep_codes: Whether the codes of every layer stay, to be written to files.
            note: Is told what of the data is left out and in which order class folders are read, how images
                are preprocessed and what the float model is worth, before anything long; None where that has
                been seen to, as for a worker.

        Raises:
            UserError: The spec, the model or the data cannot be used; where ``note`` is given, the float
                model is no better than a guess, or does not tell in which order class folders are.
            BitfrontError: The float model overflows on the calibration images.
        """
        spec.check()
        device = device_named(spec.device)
        compute_in_float32()
        torch.set_num_threads(1)
        source = source_of(spec)
        model = load_model(
            spec.model, checkpoint=spec.checkpoint, pretrained=spec.pretrained, options=spec.image_options
        )
        spec = dataclasses.replace(spec, **model.decided)  # what files beside the weights say now, is kept
        blueprint = task_blueprint(spec, model.module.to(device))
        task = task_named(spec.task)
        if note is not None:
            spec, source = in_decided_order(spec, model, source, note)
        check_labels(source, model.classes, task.multiple, spec.class_map is not None)
        check_classes(task, spec.metrics, source.class_names, model.classes)
        splits = splits_of(spec, source)
        images = load_images(source, splits.calibration, model.data_config)
        # Not the spec's threads: the number moves sums by a rounding, and with them codes and logits, and a
        # worker or a resumed run, whose spec is resolved, must come to the model that was prepared before.
        with torch_threads(preparing_threads(blueprint)):
            if note is not None:
                check_float_model(spec, model, source, images, note)
            calibrated = calibrated_for(spec, blueprint, images, progress)
            digest = calibrated_digest(calibrated, blueprint)
            if spec.refinement is None:
                prepared = prepared_with(spec, calibrated, keep_codes)
            else:
                prepared = refined_with(spec, Path(spec.refinement), blueprint, digest, keep_codes)
        sites = trace_sites(blueprint, spec.scheme)
        size = SizeModel(prepared.blueprint, sites, spec.scheme, spec.whole_recipe)
        context = cls(spec, model, source, splits, prepared, sites, size, digest, images.skipped)
        return context if spec.resolved else context.resolved()

    def resolved(self) -> EvaluationContext:
        """The same context with what its spec leaves open: batch size, threads, images of a first look."""
        setting = self.quickest_setting()
        first = self.spec.first_images or first_images(len(self.splits.search))
        spec = dataclasses.replace(
            self.spec, batch_size=setting.batch_size, threads=setting.threads, first_images=first
        )
        return dataclasses.replace(self, spec=spec)

    def on_threads(self, threads: int) -> EvaluationContext:
        """The same context, which classifies so many batches at a time; what it has loaded and run is shared.

        Results are those of any number of threads.
        """
        other = copy.copy(self)
        object.__setattr__(other, "spec", dataclasses.replace(self.spec, threads=threads))
        return other

    def refined_by(self, path: Path) -> EvaluationContext:
        """The same context with a refinement of its model on top; what it has loaded and run is shared.

        Raises:
            UserError: The file is none of a refinement, or one of another model, scheme or calibration.
        """
        spec = dataclasses.replace(self.spec, refinement=str(path))
        blueprint = task_blueprint(spec, self.model.module)
        other = copy.copy(self)
        object.__setattr__(other, "spec", spec)
        object.__setattr__(other, "prepared", refined_with(spec, path, blueprint, self.calibration))
        return other

    def calibrated_again(self) -> tuple[CalibratedModel, Blueprint]:
        """What calibration decided, from the cache once more, and the float model that it was decided of.

        The prepared model has it in the forms of its kernels alone.
        """
        blueprint = task_blueprint(self.spec, self.model.module)
        with torch_threads(preparing_threads(blueprint)):
            return calibrated_for(self.spec, blueprint, self.images("calibration")), blueprint

    def quickest_setting(self) -> Setting:
        """Batch size and threads that classify quickest, by a short measurement where the spec gives none.

        A batch size that was measured before is kept in the cache: evaluations are shared by it.
        """
        spec, cuda = self.spec, self.prepared.kernels.device.type == "cuda"
        key = machine_key(spec, self.calibration, self.prepared.kernels)
        batch_size = kept_batch_size(key) if spec.batch_size is None else spec.batch_size
        uniform = BitConfig.uniform(spec.model, spec.scheme, self.encoders, (REFERENCE_BITS,) * 3)
        model = self.prepared.assemble(self.prepared.only or uniform)
        threads = (1,) if cuda else thread_counts(available_cpus())
        sizes = CUDA_BATCHES if cuda else BATCHES
        found = measure_throughput(
            lambda images: model(images.to(self.prepared.kernels.device)).cpu(),
            self.prepared.blueprint.image_shape,
            batches=sizes if batch_size is None else (batch_size,),
            threads=threads if spec.threads is None else (spec.threads,),
            images=len(self.splits.search),
        )
        if batch_size is None:
            keep_batch_size(key, found.batch_size)
        return found

    @property
    def task(self) -> Task:
        """What the model is judged by."""
        return task_named(self.spec.task)

    @functools.cached_property
    def encoders(self) -> tuple[EncoderLayers, ...]:
        """The encoders and their linear layers, for search spaces."""
        return self.prepared.blueprint.encoder_layers()

    def images(self, split: SplitName) -> PreprocessedImages:
        """The preprocessed images of a split, loaded once."""
        if split not in self._loaded:
            indices = getattr(self.splits, split)
            self._loaded[split] = load_images(self.source, indices, self.model.data_config)
        return self._loaded[split]

    def take_images(self, split: SplitName, images: PreprocessedImages) -> None:
        """Takes the preprocessed images of a split from elsewhere, in place of loading them."""
        self._loaded[split] = images

    def skipped_images(self) -> dict[str, list[str]]:
        """Why images were left out, by split; splits that have not been loaded have none yet."""
        found = {"calibration": list(self.skipped_calibration)}
        return found | {split: list(images.skipped) for split, images in self._loaded.items()}

    def _float_run(self, split: SplitName) -> tuple[torch.Tensor, float]:
        """Logits of the float model on a split, and the seconds they took; run once."""
        if split not in self._float_runs:
            logits, seconds = self._run(self.model.module, self.images(split))
            if not bool(logits.isfinite().all()):
                name_float_fault(self.prepared, self.images(split), f"the {split} images")
            self._float_runs[split] = logits, seconds
        return self._float_runs[split]

    def _run(
        self, classify: Callable[[torch.Tensor], torch.Tensor], images: PreprocessedImages
    ) -> tuple[torch.Tensor, float]:
        """Logits of images, and the seconds that they would have taken without waiting for images."""
        spec, device = self.spec, self.prepared.kernels.device
        assert spec.batch_size is not None, "the spec is resolved"
        assert spec.threads is not None, "the spec is resolved"
        busy: list[tuple[float, float]] = []

        def timed(batch: torch.Tensor) -> torch.Tensor:
            started = time.perf_counter()
            logits = classify(batch.to(device)).cpu()
            busy.append((started, time.perf_counter()))
            return logits

        batches = (batch for batch, _ in images.batches(spec.batch_size))
        logits = torch.cat(list(classify_batches(timed, batches, spec.threads)))
        return logits, covered_seconds(busy)

    def describe(self) -> dict[str, Any]:
        """What evaluates and how: device, batch size, threads, kernels and what they cannot use here."""
        kernels = self.prepared.kernels
        return {
            "device": self.spec.device,
            "batch_size": self.spec.batch_size,
            "threads": self.spec.threads,
            "kernels": kernels.description,
            "kernel_notes": list(kernels.notes),
        }

    def float_quality(self, split: SplitName = "search") -> Quality:
        """Quality of the float model on a split.

        Raises:
            BitfrontError: NaN or infinity; the first tensor that has it is named.
        """
        logits, seconds = self._float_run(split)
        return self.task.quality(self.outputs(logits, split), self.spec.metrics, seconds)

    def quality(
        self, config: BitConfig, split: SplitName = "search", required: float | None = None
    ) -> Quality:
        """Quality of a configuration on a split, in exact integer arithmetic.

        Args:
            config: The configuration.
            split: The images.
            required: Percentage points of images decided right above the float model that it has to reach;
                it is evaluated on the first images alone where these show that it will not. None to take
                every image.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: NaN, infinity or saturation; the tensor is named.
        """
        model, images = self._inspected(config, split), self.images(split)
        if required is None:
            logits, seconds = self._checked_run(model, config, images)
            return self._judged(logits, split, seconds, model, config)
        spec, logits, seconds = self.spec, torch.empty(0, self.model.classes), 0.0
        assert spec.first_images is not None, "the spec is resolved"
        assert spec.batch_size is not None, "the spec is resolved"
        for stop in growing(spec.first_images, len(images), spec.batch_size):
            further, taken = self._checked_run(model, config, images.part(len(logits), stop))
            logits, seconds = torch.cat([logits, further]), seconds + taken
            found = self._judged(logits, split, seconds, model, config)
            if hopeless(found, required):
                break
        return found

    def quality_with_errors(
        self, config: BitConfig, split: SplitName, metrics: Sequence[Metric]
    ) -> tuple[Quality, dict[str, Errors]]:
        """Quality of a configuration on a split, and the standard errors of some metrics there.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: NaN, infinity or saturation; the tensor is named.
        """
        quality, outputs = self.quality_with_outputs(config, split)
        draws = self._float_draws.setdefault(split, {})
        return quality, standard_errors(self.task.arithmetic.outputs(outputs), metrics, draws)

    def quality_with_outputs(self, config: BitConfig, split: SplitName) -> tuple[Quality, Outputs]:
        """Quality of a configuration on a split, and its outputs there beside those of the float model.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: NaN, infinity or saturation; the tensor is named.
        """
        model = self._inspected(config, split)
        logits, seconds = self._checked_run(model, config, self.images(split))
        outputs = self._outputs_of(logits, split, model, config)
        return self.task.quality(outputs, self.spec.metrics, seconds), outputs

    def _judged(
        self, logits: torch.Tensor, split: SplitName, seconds: float, model: QuantizedModel, config: BitConfig
    ) -> Quality:
        """The quality of the logits of a split's first images."""
        outputs = self._outputs_of(logits, split, model, config)
        return self.task.quality(outputs, self.spec.metrics, seconds)

    def _outputs_of(
        self, logits: torch.Tensor, split: SplitName, model: QuantizedModel, config: BitConfig
    ) -> Outputs:
        return self.outputs(
            logits, split, lambda: self._checked_run(model, config, self.images("calibration"))[0]
        )

    def outputs(
        self, logits: torch.Tensor, split: SplitName, calibrating: Callable[[], torch.Tensor] | None = None
    ) -> Outputs:
        """Logits of a split's first images, beside those of the float model and the labels.

        Args:
            logits: float32 ``[images, classes]``.
            split: The images.
            calibrating: The same model's logits on the calibration images, for metrics that fit something;
                None for those of the float model.
        """
        seen, images = len(logits), self.images(split)

        @functools.cache
        def held_out() -> Outputs:
            whole, labels = self._float_run("calibration")[0], self.images("calibration").labels
            return Outputs(calibrating() if calibrating else whole, whole, labels, self.source.class_names)

        return Outputs(
            logits,
            self._float_run(split)[0][:seen],
            images.labels[:seen],
            self.source.class_names,
            held_out,
            self.float_temperature,
        )

    def float_temperature(self) -> float:
        """The float model's temperature, fitted on the calibration images once."""
        if not self._temperature:
            whole, labels = self._float_run("calibration")[0], self.images("calibration").labels
            judge = self.task.arithmetic
            self.take_temperature(judge.temperature(judge.outputs(Outputs(whole, whole, labels))))
        return self._temperature[0]

    def take_temperature(self, temperature: float) -> None:
        """Takes the float model's temperature from elsewhere, in place of fitting it."""
        self._temperature[:] = [temperature]

    def logits(self, config: BitConfig, split: SplitName) -> torch.Tensor:
        """Logits ``[images, classes]`` of a configuration on a split.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: NaN, infinity or saturation; the tensor is named.
        """
        return self._checked_run(self._inspected(config, split), config, self.images(split))[0]

    def float_logits(self, split: SplitName) -> torch.Tensor:
        """Logits ``[images, classes]`` of the float model on a split."""
        return self._float_run(split)[0]

    def logits_of(self, model: QuantizedModel, split: SplitName) -> torch.Tensor:
        """Logits ``[images, classes]`` of a quantized model of whatever origin on a split."""
        return self._run(model, self.images(split))[0]

    def _inspected(self, config: BitConfig, split: SplitName) -> QuantizedModel:
        """The model of a configuration, whose values on a few images are in order."""
        model = self.prepared.assemble(config)
        inspect(model, self._inspector(config), self.prepared, self.images(split), first=True)
        return model

    def _inspector(self, config: BitConfig) -> Inspector:
        return Inspector(config, self.sites, self.prepared.calibration)

    def _checked_run(
        self, model: QuantizedModel, config: BitConfig, images: PreprocessedImages
    ) -> tuple[torch.Tensor, float]:
        """Logits of a configuration's model, and the seconds they took; raises where one is not finite."""
        try:
            return self._run(model, images)
        except NotFiniteError as error:
            inspect(model, self._inspector(config), self.prepared, images)
            raise BitfrontError(f"configuration {config.digest} yields values that are not finite") from error
