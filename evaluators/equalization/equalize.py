"""The equalized model that a recipe quantizes."""

from __future__ import annotations

import dataclasses

from bitfront.evaluators.calibration import Batches
from bitfront.evaluators.equalization.head_channels import equalize_heads
from bitfront.evaluators.equalization.norm_channels import equalize_norms
from bitfront.evaluators.equalization.samples import observe
from bitfront.evaluators.equalization.stream_rotation import rotate_stream
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.recipes import HEAD_CHANNELS, NORM_CHANNELS, ROTATED_STREAM, Recipe


def equalize(blueprint: Blueprint, recipe: Recipe, batches: Batches) -> Blueprint:
    """A model that computes the same, up to rounding, with tensors that are easier to quantize.

    Args:
        blueprint: The float model.
        recipe: Says which transformations are applied.
        batches: Yields the batches of normalised images anew at each call.
    """
    if ROTATED_STREAM in recipe:
        blueprint = rotate_stream(blueprint)
    if NORM_CHANNELS not in recipe and HEAD_CHANNELS not in recipe:
        return blueprint
    observed = observe(blueprint, batches)
    encoders = blueprint.encoders
    if NORM_CHANNELS in recipe:
        encoders = tuple(equalize_norms(encoder, observed.norms) for encoder in encoders)
    if HEAD_CHANNELS in recipe:
        encoders = tuple(equalize_heads(encoder, observed.qkv) for encoder in encoders)
    return dataclasses.replace(blueprint, encoders=encoders)
