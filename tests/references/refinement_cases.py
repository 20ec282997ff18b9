"""Models that are refined in tests: small ones with random weights, and the trained one of the digits."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from quantized_cases import config_of, small_case

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.preparing import calibrated_for, task_blueprint
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.spaces import BitConfig

WIDTHS = (2, 4, 8)
SPEC = EvaluationSpec(
    model="digits_deit",
    scheme="deploy",
    calibration_images=64,
    search_images=64,
    test_images=64,
    batch_size=64,
    threads=1,
)
QUICK = RefinementSpec(encoder_passes=4, passes=3, batch=8, threads=1)
IMAGES = 128


def prepared_of(model: CalibratedModel, config: BitConfig, kernels: Kernels | None = None) -> PreparedModel:
    """The model at the widths of a configuration, its codes kept."""
    return PreparedModel(
        model.blueprint,
        model.calibration,
        "deploy",
        config.formats(),
        "mse",
        model.layers,
        model.log_steps,
        kernels,
        keep_codes=True,
    )


@dataclass(frozen=True)
class Case:
    """A small model with random weights, and noise to refine it on.

    Attributes:
        others: Further normalised images.
        config: Two bits for weights, eight for all else.
    """

    blueprint: Blueprint
    calibrated: CalibratedModel
    images: PreprocessedImages
    others: torch.Tensor
    config: BitConfig

    def float_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Of the float model."""
        return forward(self.blueprint, images)


@functools.cache
def refined_case(name: str) -> Case:
    """One of the small models of ``quantized_cases``."""
    blueprint = small_case(name, 1).blueprint
    generator = torch.Generator().manual_seed(7)
    shape = (2 * IMAGES, *blueprint.image_shape)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    everything = PreprocessedImages(
        pixels, labels, torch.arange(len(pixels)).numpy(), (0.5,) * 3, (0.29,) * 3
    )
    images = everything.part(0, IMAGES)
    recipe = recipe_named("best")
    calibrated = calibrate_model(
        blueprint,
        lambda: (batch for batch, _ in images.part(0, 64).batches(32)),
        WIDTHS,
        recipe,
        observer_named(recipe.observer),
        "deploy",
        lambda share: None,
    )
    config = config_of(blueprint, "deploy", (2, 8, 8))
    return Case(blueprint, calibrated, images, everything.normalised(pixels[IMAGES:]), config)


@dataclass(frozen=True)
class Digits:
    """A trained model, calibrated, with images of digits."""

    context: EvaluationContext
    blueprint: Blueprint
    calibrated: CalibratedModel
    images: PreprocessedImages

    def config(self, weights: int, activations: int, attention: int) -> BitConfig:
        """The same bits in every encoder."""
        bits = (weights, activations, attention)
        return BitConfig.uniform("digits_deit", "deploy", self.context.encoders, bits)


@functools.cache
def refined_digits() -> Digits:
    """The model of the digits at 4 and 8 bits."""
    context = EvaluationContext.from_spec(SPEC)
    blueprint = task_blueprint(SPEC, context.model.module)
    images = context.images("calibration")
    return Digits(context, blueprint, calibrated_for(context.spec, blueprint, images), images)
