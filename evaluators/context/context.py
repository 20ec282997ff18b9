"""The evaluation context: a calibrated model with its data, built once per process and asked often."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import torch

from bitfront.evaluators.context.accuracy import Accuracy, accuracy_of_logits, first_images, growing, hopeless
from bitfront.evaluators.context.inspection import IMAGES, Inspector
from bitfront.evaluators.context.machine import available_cpus, device_named
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
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, check_labels, make_splits
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_cache import cached_calibrated_model
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.preparation.recipes import CLIPPED_WEIGHTS, Recipe, recipe_named
from bitfront.evaluators.preparation.store.store import PreparationStore
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.model import NotFiniteError, QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.observers import check_finite
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import (
    BitConfig,
    BitfrontError,
    EncoderLayers,
    QuantSite,
    UserError,
    check_scheme,
    encoder_layers,
)
from bitfront.spaces.precision import Precision

SplitName = Literal["calibration", "search", "test"]
# Prepared beside the searched widths: the uniform 8-bit model is the reference of constraint 4.
REFERENCE_BITS = 8
# Of calibration; a constant, so that ranges do not depend on what is quickest.
CALIBRATION_BATCH = 32
# Weights of the encoders from which on several threads calibrate quicker than one.
WEIGHTS_WORTH_SHARING = 2_000_000


def check_spec(spec: EvaluationSpec) -> None:
    """Refuses settings that no model could be prepared with, before anything is loaded.

    Raises:
        UserError: An unknown scheme, recipe, ingredient or observer, a width that is not supported, a size
            below 1, or a limit of the cache that is not a size.
    """
    check_scheme(spec.scheme)
    device_named(spec.device)
    _recipe(spec)
    if spec.observer is not None:
        observer_named(spec.observer)
    for width in spec.widths:
        Precision(width, signed=False)
    if spec.seed < 0:
        raise UserError(f"--seed {spec.seed} is too small: give 0 or more")
    for option, number in (("--batch-size", spec.batch_size), ("--threads", spec.threads)):
        if number is not None and number < 1:
            raise UserError(f"{option} {number} is too small: give 1 or more")
    PreparationStore.default()


def splits_of(spec: EvaluationSpec, source: ImageSource) -> Splits:
    """The splits that a spec asks for; raises :class:`UserError` where there are too few images."""
    return make_splits(
        source,
        calibration=spec.calibration_images,
        search=spec.search_images,
        test=spec.test_images,
        seed=spec.seed,
    )


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

    @classmethod
    def from_spec(
        cls, spec: EvaluationSpec, progress: ShareDone = unreported, keep_codes: bool = False
    ) -> EvaluationContext:
        """Loads the model and the data, calibrates and prepares.

        Args:
            spec: What to build.
            progress: Is told the share of the preparation that is done.
            keep_codes: Whether the codes of every layer stay, to be written to files.

        Raises:
            UserError: The spec, the model or the data cannot be used.
            BitfrontError: The float model overflows on the calibration images.
        """
        check_spec(spec)
        device = device_named(spec.device)
        compute_in_float32()
        torch.set_num_threads(1)
        source = open_source(spec.data)
        checkpoint = None if spec.checkpoint is None else Path(spec.checkpoint)
        model = load_model(spec.model, checkpoint=checkpoint, pretrained=spec.pretrained)
        blueprint = blueprint_of(spec.model, model.module.to(device))
        check_labels(source, model.classes)
        splits = splits_of(spec, source)
        images = load_images(source, splits.calibration, model.data_config)
        # Not the spec's threads: the number moves sums by a rounding, and with them codes and logits, and a
        # worker or a resumed run, whose spec is resolved, must come to the model that was prepared before.
        with torch_threads(preparing_threads(blueprint)):
            calibrated = calibrated_for(spec, blueprint, images, progress)
            prepared = prepared_with(spec, calibrated, keep_codes)
        sites = trace_sites(blueprint, spec.scheme)
        size = SizeModel(blueprint, sites, spec.scheme, _recipe(spec))
        digest = calibrated_digest(calibrated, blueprint)
        context = cls(spec, model, source, splits, prepared, sites, size, digest, images.skipped)
        return context if spec.resolved else context.resolved()

    def resolved(self) -> EvaluationContext:
        """The same context with what its spec leaves open: batch size, threads, images of a first look."""
        setting, first = self.quickest_setting(), self.spec.first_images
        spec = dataclasses.replace(
            self.spec,
            batch_size=setting.batch_size,
            threads=setting.threads,
            first_images=first or first_images(len(self.splits.search)),
        )
        return dataclasses.replace(self, spec=spec)

    def quickest_setting(self) -> Setting:
        """Batch size and threads that classify quickest, by a short measurement where the spec gives none."""
        spec, cuda = self.spec, self.prepared.kernels.device.type == "cuda"
        config = BitConfig.uniform(spec.model, spec.scheme, self.encoders, (REFERENCE_BITS,) * 3)
        model = self.prepared.assemble(config)
        threads = (1,) if cuda else thread_counts(available_cpus())
        sizes = CUDA_BATCHES if cuda else BATCHES
        return measure_throughput(
            lambda images: model(images.to(self.prepared.kernels.device)).cpu(),
            self.prepared.blueprint.image_shape,
            batches=sizes if spec.batch_size is None else (spec.batch_size,),
            threads=threads if spec.threads is None else (spec.threads,),
            images=len(self.splits.search),
        )

    @functools.cached_property
    def encoders(self) -> tuple[EncoderLayers, ...]:
        """The encoders and their linear layers, for search spaces."""
        return encoder_layers(self.sites, [encoder.name for encoder in self.prepared.blueprint.encoders])

    @functools.cached_property
    def _loaded(self) -> dict[SplitName, PreprocessedImages]:
        return {}

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

    @functools.cached_property
    def _float_runs(self) -> dict[SplitName, tuple[torch.Tensor, float]]:
        # In the context itself, which nothing else keeps alive: a worker goes through many of them.
        return {}

    def _float_run(self, split: SplitName) -> tuple[torch.Tensor, float]:
        """Logits of the float model on a split, and the seconds they took; run once."""
        if split not in self._float_runs:
            logits, seconds = self._run(self.model.module, self.images(split))
            if not bool(logits.isfinite().all()):
                self._name_float_fault(split)
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

    def float_accuracy(self, split: SplitName = "search") -> Accuracy:
        """Accuracy of the float model on a split.

        Raises:
            BitfrontError: NaN or infinity; the first tensor that has it is named.
        """
        logits, seconds = self._float_run(split)
        return accuracy_of_logits(logits, logits, self.images(split).labels, seconds)

    def accuracy(
        self, config: BitConfig, split: SplitName = "search", required: float | None = None
    ) -> Accuracy:
        """Accuracy of a configuration on a split, in exact integer arithmetic.

        Args:
            config: The configuration.
            split: The images.
            required: Percentage points of top-1 above the float model that it has to reach; it is evaluated
                on the first images alone where these show that it will not. None to take every image.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: NaN, infinity or saturation; the tensor is named.
        """
        model, images = self._inspected(config, split), self.images(split)
        if required is None:
            logits, seconds = self._checked_run(model, config, images)
            return self._scored(logits, split, seconds)
        spec, logits, seconds = self.spec, torch.empty(0, self.model.classes), 0.0
        assert spec.first_images is not None, "the spec is resolved"
        assert spec.batch_size is not None, "the spec is resolved"
        for stop in growing(spec.first_images, len(images), spec.batch_size):
            further, taken = self._checked_run(model, config, images.part(len(logits), stop))
            logits, seconds = torch.cat([logits, further]), seconds + taken
            found = self._scored(logits, split, seconds)
            if hopeless(found, required):
                break
        return found

    def _scored(self, logits: torch.Tensor, split: SplitName, seconds: float) -> Accuracy:
        """Scores the logits of a split's first images."""
        seen, labels = len(logits), self.images(split).labels
        return accuracy_of_logits(logits, self._float_run(split)[0][:seen], labels[:seen], seconds)

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
        self._inspect(model, config, next(self.images(split).batches(IMAGES))[0])
        return model

    def _checked_run(
        self, model: QuantizedModel, config: BitConfig, images: PreprocessedImages
    ) -> tuple[torch.Tensor, float]:
        """Logits of a configuration's model, and the seconds they took; raises where one is not finite."""
        try:
            return self._run(model, images)
        except NotFiniteError:
            self._name_fault(model, config, images)

    def _inspect(self, model: QuantizedModel, config: BitConfig, images: torch.Tensor) -> None:
        inspector = Inspector(config, self.sites, self.prepared.calibration)
        model(images.to(self.prepared.kernels.device), inspector)

    def _name_fault(self, model: QuantizedModel, config: BitConfig, images: PreprocessedImages) -> NoReturn:
        """Raises an error that names the site where a model's values are no longer finite."""
        for batch, _ in images.batches(CALIBRATION_BATCH):
            self._inspect(model, config, batch)
        raise BitfrontError(f"configuration {config.digest} yields values that are not finite")

    @torch.inference_mode()
    def _name_float_fault(self, split: SplitName) -> NoReturn:
        """Raises an error that names the tensor where the float model overflows."""

        def tap(site: str, value: torch.Tensor) -> None:
            check_finite(site, value)

        for images, _ in self.images(split).batches(CALIBRATION_BATCH):
            forward(self.prepared.blueprint, images.to(self.prepared.kernels.device), tap)
        raise BitfrontError(f"the float model yields logits that are not finite on the {split} images")


def compute_in_float32() -> None:
    """Keeps GPUs from rounding the operands of float32 products (TF32): integers in float lanes are exact."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def preparing_threads(blueprint: Blueprint) -> int:
    """Threads for calibration: the operators of a small model are too short to be shared."""
    weights = sum(
        parts.weight.numel() for encoder in blueprint.encoders for parts in encoder.linear().values()
    )
    return available_cpus() if weights > WEIGHTS_WORTH_SHARING else 1


def _recipe(spec: EvaluationSpec) -> Recipe:
    return recipe_named(spec.recipe, spec.without)


def calibrated_for(
    spec: EvaluationSpec, blueprint: Blueprint, images: PreprocessedImages, progress: ShareDone = unreported
) -> CalibratedModel:
    """What the calibration images decide for a spec, from the cache where it can be had there."""
    recipe = _recipe(spec)
    observer = spec.observer or recipe.observer
    widths = prepared_widths(spec)
    return cached_calibrated_model(
        blueprint, images, CALIBRATION_BATCH, widths, recipe, observer, spec.scheme, progress
    )


def prepared_with(
    spec: EvaluationSpec, calibrated: CalibratedModel, keep_codes: bool = False
) -> PreparedModel:
    """The calibrated model at the searched widths and the reference width."""
    return PreparedModel(
        calibrated.blueprint,
        calibrated.calibration,
        spec.scheme,
        prepared_widths(spec),
        "mse" if CLIPPED_WEIGHTS in _recipe(spec) else "minmax",
        calibrated.layers,
        calibrated.log_steps,
        keep_codes=keep_codes,
    )


def prepared_widths(spec: EvaluationSpec) -> list[int]:
    """The searched widths and that of the reference model, ascending."""
    return sorted({*spec.widths, REFERENCE_BITS})
