"""A float model and its images, loaded once, to be prepared by any recipe and scored on the same images."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from subject import parser_for, spec_of

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.preparing import CALIBRATION_BATCH
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import classify_batches, torch_threads
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.recipes import Recipe
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import Quality
from bitfront.evaluators.tasks.registry import task_named
from bitfront.spaces import SCHEMES, BitConfig, EncoderLayers

BATCH = 32


def recipe_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of :func:`open_workbench`."""
    parser = parser_for(description)
    parser.set_defaults(calibration_images=128)
    parser.add_argument("--scheme", choices=SCHEMES, default="deploy")
    parser.add_argument("--images", type=int, help="evaluation images; all that do not calibrate by default")
    return parser


@dataclass(frozen=True, eq=False)
class Workbench:
    """What every preparation shares.

    Attributes:
        spec: Model, data and scheme.
        encoders: The encoders and their linear layers.
        blueprint: The float model.
        calibration: The calibration images.
        images: The evaluation images; none of them calibrates.
        float_logits: The float model's logits on them, ``[images, classes]``.
    """

    spec: EvaluationSpec
    encoders: tuple[EncoderLayers, ...]
    blueprint: Blueprint
    calibration: PreprocessedImages
    images: PreprocessedImages
    float_logits: torch.Tensor

    def calibrated(self, recipe: Recipe) -> CalibratedModel:
        """Equalizes, calibrates and fits, never from the cache: the time it takes is a result."""
        device = self.blueprint.patch.weight.device

        def batches() -> Iterator[torch.Tensor]:
            return (batch.to(device) for batch, _ in self.calibration.batches(CALIBRATION_BATCH))

        observer = observer_named(recipe.observer)
        with torch_threads(self.spec.threads or 1):
            return calibrate_model(
                self.blueprint,
                batches,
                self.spec.widths,
                recipe,
                observer,
                self.spec.scheme,
                lambda share: None,
            )

    def prepared(self, calibrated: CalibratedModel, recipe: Recipe) -> PreparedModel:
        """The kernels' view of a calibrated model."""
        return PreparedModel(
            calibrated.blueprint,
            calibrated.calibration,
            self.spec.scheme,
            self.spec.widths,
            recipe.weight_ranges,
            calibrated.layers,
            calibrated.log_steps,
        )

    def uniform(self, bits: tuple[int, int, int]) -> BitConfig:
        """The same (weights, activations, attention) bits in every encoder."""
        return BitConfig.uniform(self.spec.model, self.spec.scheme, self.encoders, bits)

    def logits(self, prepared: PreparedModel, config: BitConfig) -> torch.Tensor:
        """Logits of a configuration on the evaluation images, ``[images, classes]``."""
        return _logits(prepared.assemble(config), self.images, self.spec)

    def quality(self, logits: torch.Tensor) -> Quality:
        """Logits against the labels and against the float model; the time is not recorded."""
        outputs = Outputs(logits, self.float_logits, self.images.labels)
        return task_named(self.spec.task).quality(outputs)


def open_workbench(options: argparse.Namespace) -> Workbench:
    """Loads the model and all images, and runs the float model."""
    batch_size = options.batch_size or BATCH
    with spec_of(options, options.scheme, recipe="fq-vit", batch_size=batch_size) as spec:
        context = EvaluationContext.from_spec(spec)
    blueprint = blueprint_of(spec.model, context.model.module)
    positions = np.concatenate([context.splits.search, context.splits.test])[: options.images]
    images = load_images(context.source, positions, context.model.data_config)
    return Workbench(
        spec=spec,
        encoders=context.encoders,
        blueprint=blueprint,
        calibration=context.images("calibration"),
        images=images,
        float_logits=_logits(context.model.module, images, spec),
    )


def _logits(
    classify: Callable[[torch.Tensor], torch.Tensor], images: PreprocessedImages, spec: EvaluationSpec
) -> torch.Tensor:
    batches = (batch for batch, _ in images.batches(spec.batch_size or BATCH))
    run = classify_batches(lambda x: classify(x.to(spec.device)).cpu(), batches, spec.threads or 1)
    return torch.cat(list(run))
