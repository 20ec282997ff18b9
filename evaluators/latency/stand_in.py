"""A model prepared for timing alone: its times depend on shapes and precisions, not on values."""

from __future__ import annotations

from pathlib import Path

import torch

from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.preparing import REFERENCE_BITS, compute_in_float32
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.preparation.calibrated_model import calibrate_model
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import TOKEN_WEIGHTS
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named

# Of uniform noise, in place of calibration images.
IMAGES = 8


def load_shapes(spec: EvaluationSpec) -> tuple[LoadedModel, Blueprint]:
    """The float model of a spec; with random weights where the spec names none.

    Raises:
        UserError: The model or its weights cannot be used.
    """
    spec.check()
    checkpoint = None if spec.checkpoint is None else Path(spec.checkpoint)
    model = load_model(spec.model, checkpoint=checkpoint, pretrained=spec.pretrained, untrained=True)
    return model, blueprint_of(spec.model, model.module.to(device_named(spec.device)))


def stand_in(spec: EvaluationSpec, keep_codes: bool, progress: ShareDone) -> Subject:
    """Prepares a model on noise, with everything of the recipe that changes what runs.

    How weights are rounded changes none of it, and takes most of a preparation's time: it is left out.

    Args:
        spec: The model and how it is quantized; its data and splits are not looked at.
        keep_codes: Whether the prepared model keeps its codes.
        progress: Is told the share that is done.

    Raises:
        UserError: The model or its weights cannot be used.
        BitfrontError: The float model overflows on noise.
    """
    recipe = spec.whole_recipe
    observer = observer_named(spec.observer or recipe.observer)
    recipe = recipe.without(FITTING | {TOKEN_WEIGHTS})
    compute_in_float32()
    torch.set_num_threads(1)
    model, blueprint = load_shapes(spec)
    drawn = torch.randn(IMAGES, *blueprint.image_shape, generator=torch.Generator().manual_seed(0))
    images = drawn.to(blueprint.patch.weight.device)
    widths = sorted({*spec.widths, REFERENCE_BITS})
    found = calibrate_model(blueprint, lambda: [images], widths, recipe, observer, spec.scheme, progress)
    prepared = PreparedModel(
        found.blueprint,
        found.calibration,
        spec.scheme,
        widths,
        "minmax",
        log_steps=found.log_steps,
        keep_codes=keep_codes,
    )
    return Subject(prepared, model.module)
