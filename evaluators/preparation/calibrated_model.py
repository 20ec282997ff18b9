"""What a recipe makes of a float model, before any kernel sees it: what is slow to find and worth keeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.preparation.equalization.channels import equalize_heads, equalize_norms, observe
from bitfront.evaluators.preparation.equalization.hidden import equalize_hidden
from bitfront.evaluators.preparation.equalization.stream_rotation import rotate_stream
from bitfront.evaluators.preparation.layer_fit import FittedLayer, LayerKey, fit_layers
from bitfront.evaluators.preparation.log_base import search_attention_minifloats, search_log_steps
from bitfront.evaluators.preparation.recipes import (
    ATTENTION_MINIFLOATS,
    HEAD_CHANNELS,
    HIDDEN_CHANNELS,
    LOG_BASE,
    NORM_CHANNELS,
    ROTATED_STREAM,
    Recipe,
)
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.quantizers.observers import RangeObserver
from bitfront.spaces import Choices, FormatName
from bitfront.spaces.schemes import DEPLOY

# Shares of the time that the steps before the fit of the layers are done after, in order.
_EQUALIZED, _CALIBRATED = 0.05, 0.15


def equalize(blueprint: Blueprint, recipe: Recipe, batches: Batches, scheme: str) -> Blueprint:
    """A model that computes the same, up to rounding, with tensors that are easier to quantize.

    Args:
        blueprint: The float model.
        recipe: Says which transformations are applied.
        batches: Yields the batches of normalised images, from the first on at each call.
        scheme: What it is equalized for: hidden channels are scaled where they are floats.
    """
    if ROTATED_STREAM in recipe:
        blueprint = rotate_stream(blueprint)
    scaled = HIDDEN_CHANNELS in recipe and scheme == DEPLOY
    if NORM_CHANNELS not in recipe and HEAD_CHANNELS not in recipe and not scaled:
        return blueprint
    observed = observe(blueprint, batches)
    encoders = blueprint.encoders
    if NORM_CHANNELS in recipe:
        encoders = tuple(equalize_norms(encoder, observed.norms) for encoder in encoders)
    if HEAD_CHANNELS in recipe:
        encoders = tuple(equalize_heads(encoder, observed.qkv) for encoder in encoders)
    if scaled:
        encoders = tuple(
            equalize_hidden(encoder, observed.hidden[f"{encoder.name}.mlp.gelu"]) for encoder in encoders
        )
    return dataclasses.replace(blueprint, encoders=encoders)


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """Everything that calibration images decide of a model.

    Attributes:
        blueprint: The float model, equalized.
        calibration: Grids of its activation sites.
        layers: Fitted linear layers; empty where the recipe rounds to nearest.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder; empty where it is 2.
    """

    blueprint: Blueprint
    calibration: Calibration
    layers: dict[LayerKey, FittedLayer] = field(default_factory=dict)
    log_steps: dict[int, float] = field(default_factory=dict)


def calibrate_model(
    blueprint: Blueprint,
    batches: Batches,
    choices: Choices | Sequence[FormatName],
    recipe: Recipe,
    observer: RangeObserver,
    scheme: str,
    progress: ShareDone,
) -> CalibratedModel:
    """Equalizes, calibrates and fits a model.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
        choices: Formats that searched tensors may take, by kind or for all kinds.
        recipe: What is done.
        observer: Chooses the ranges of activations.
        scheme: Whose sites are calibrated.
        progress: Is told the share that is done, from 0 to 1.

    Raises:
        BitfrontError: NaN or infinity at a site or in a weight, which is named.
    """
    found = choices if isinstance(choices, Choices) else Choices.alike(choices)
    widths = [value for value in (*found.activations, *found.attention) if isinstance(value, int)]
    equalized = equalize(blueprint, recipe, batches, scheme)
    progress(_EQUALIZED)
    calibration = calibrate(
        equalized,
        batches,
        widths,
        observer,
        scheme,
        codebook_roles=recipe.codebook_roles,
        minifloat_roles=recipe.minifloat_roles,
    )
    log_steps = {}
    if ATTENTION_MINIFLOATS in recipe:
        calibration.affine.update(search_attention_minifloats(equalized, batches, found.attention))
    elif LOG_BASE in recipe:
        log_steps = search_log_steps(equalized, batches)
    progress(_CALIBRATED)
    layers: dict[LayerKey, FittedLayer] = {}
    for index, fitted in fit_layers(equalized, batches, calibration, found, recipe):
        layers.update(fitted)
        progress(_CALIBRATED + (1.0 - _CALIBRATED) * (index + 1) / len(equalized.encoders))
    progress(1.0)
    return CalibratedModel(equalized, calibration, layers, log_steps)
