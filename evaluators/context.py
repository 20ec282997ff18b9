"""The evaluation context: a calibrated model with its data, built once per process and asked often."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from bitfront.evaluators.accuracy import Accuracy, accuracy_of_logits
from bitfront.evaluators.calibration import calibrate
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.open import open_source
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, check_labels, make_splits
from bitfront.evaluators.fq_vit import PreparedFqVit
from bitfront.evaluators.fq_vit.prepared import SCHEME
from bitfront.evaluators.input_moments import input_moments
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.models.vit import blueprint_of
from bitfront.evaluators.observers import observer_named
from bitfront.evaluators.quantizers import WEIGHT_RANGES, WEIGHT_ROUNDINGS
from bitfront.evaluators.sites import trace_sites
from bitfront.evaluators.size import SizeModel
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.spaces import BitConfig, BitfrontError, EncoderLayers, QuantSite, UserError, encoder_layers

SplitName = Literal["calibration", "search", "test"]
# Prepared beside the searched widths: the uniform 8-bit model is the reference of constraint 4.
REFERENCE_BITS = 8


def check_spec(spec: EvaluationSpec) -> None:
    """Refuses settings that no model could be prepared with, before anything is loaded.

    Raises:
        UserError: An unknown scheme, observer, weight range or rounding, or a size below 1.
    """
    if spec.scheme != SCHEME:
        raise UserError(f"unknown scheme {spec.scheme!r}: the one there is is {SCHEME}")
    observer_named(spec.observer)
    for option, value, known in (
        ("--weight-ranges", spec.weight_ranges, WEIGHT_RANGES),
        ("--weight-rounding", spec.weight_rounding, WEIGHT_ROUNDINGS),
    ):
        if value not in known:
            raise UserError(f"{option} {value!r} is unknown: choose one of {', '.join(known)}")
    for option, number in (("--batch-size", spec.batch_size), ("--threads", spec.threads)):
        if number < 1:
            raise UserError(f"{option} {number} is too small: give 1 or more")


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
        skipped_calibration: Why unreadable calibration images were left out.
    """

    spec: EvaluationSpec
    model: LoadedModel
    source: ImageSource
    splits: Splits
    prepared: PreparedFqVit
    sites: tuple[QuantSite, ...]
    size: SizeModel
    skipped_calibration: tuple[str, ...] = ()

    @classmethod
    def from_spec(cls, spec: EvaluationSpec) -> EvaluationContext:
        """Loads the model and the data, calibrates and prepares.

        Args:
            spec: What to build.

        Raises:
            UserError: The spec, the model or the data cannot be used.
            BitfrontError: The float model overflows on the calibration images.
        """
        check_spec(spec)
        torch.set_num_threads(spec.threads)
        source = open_source(spec.data)
        checkpoint = None if spec.checkpoint is None else Path(spec.checkpoint)
        model = load_model(spec.model, checkpoint=checkpoint, pretrained=spec.pretrained)
        blueprint = blueprint_of(spec.model, model.module)
        check_labels(source, model.classes)
        splits = make_splits(
            source,
            calibration=spec.calibration_images,
            search=spec.search_images,
            test=spec.test_images,
            seed=spec.seed,
        )
        images = load_images(source, splits.calibration, model.data_config)

        def batches() -> Iterator[torch.Tensor]:
            return (batch for batch, _ in images.batches(spec.batch_size))

        widths = sorted({*spec.widths, REFERENCE_BITS})
        calibration = calibrate(blueprint, batches, widths, observer_named(spec.observer))
        moments = input_moments(blueprint, batches) if spec.weight_rounding == "gptq" else ()
        prepared = PreparedFqVit(blueprint, calibration, widths, spec.weight_ranges, moments)
        sites = trace_sites(blueprint)
        size = SizeModel(blueprint, sites)
        return cls(spec, model, source, splits, prepared, sites, size, images.skipped)

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

    def skipped_images(self) -> dict[str, list[str]]:
        """Why images were left out, by split; splits that have not been loaded have none yet."""
        found = {"calibration": list(self.skipped_calibration)}
        return found | {split: list(images.skipped) for split, images in self._loaded.items()}

    @functools.cache  # noqa: B019 - a context lives as long as its process
    def _float_run(self, split: SplitName) -> tuple[torch.Tensor, float]:
        """Logits of the float model on a split, and the seconds they took."""
        return self._run(self.model.module, split)

    @torch.inference_mode()
    def _run(
        self, classify: Callable[[torch.Tensor], torch.Tensor], split: SplitName
    ) -> tuple[torch.Tensor, float]:
        logits = []
        seconds = 0.0
        for images, _ in self.images(split).batches(self.spec.batch_size):
            started = time.perf_counter()
            logits.append(classify(images))
            seconds += time.perf_counter() - started
        return torch.cat(logits), seconds

    def float_accuracy(self, split: SplitName = "search") -> Accuracy:
        """Accuracy of the float model on a split."""
        logits, seconds = self._float_run(split)
        return accuracy_of_logits(logits, logits, self.images(split).labels, seconds)

    def accuracy(self, config: BitConfig, split: SplitName = "search") -> Accuracy:
        """Accuracy of a configuration on a split, in exact integer arithmetic.

        Raises:
            UserError: The configuration does not fit the model.
            BitfrontError: Its logits are not finite.
        """
        logits, seconds = self._run(self.prepared.assemble(config), split)
        if not bool(logits.isfinite().all()):
            raise BitfrontError(f"configuration {config.digest} yields logits that are not finite")
        return accuracy_of_logits(logits, self._float_run(split)[0], self.images(split).labels, seconds)
