"""A linear layer fitted to the quantized inputs that it will see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.calibration import Batches, Calibration
from bitfront.evaluators.layer_moments import LayerMoments, layer_moments
from bitfront.evaluators.models.blueprint import Blueprint, LinearParts
from bitfront.evaluators.quantizers import QuantizedWeight, quantize_weight
from bitfront.evaluators.recipes import (
    CLIPPED_WEIGHTS,
    COMPENSATED_ROUNDING,
    CORRECTED_BIASES,
    GROUPED_WEIGHTS,
    REGRESSED_WEIGHTS,
    TOKEN_WEIGHTS,
    Recipe,
)
from bitfront.evaluators.token_weights import token_weights

# Wider codes round so finely that compensation and regression change nothing that can be measured.
WIDEST_COMPENSATED = 6
# Of the ridge, as a share of the inputs' mean square: images are few, and a regression without one would
# shrink what is rare in them.
RIDGE = 1.0
FITTING = frozenset({GROUPED_WEIGHTS, COMPENSATED_ROUNDING, REGRESSED_WEIGHTS, CORRECTED_BIASES})


@dataclass(frozen=True, eq=False)
class FittedLayer:
    """A quantized linear layer: codes with their scales, and the float32 bias ``[out]``."""

    weight: QuantizedWeight
    bias: torch.Tensor


# By encoder, layer, weight bits and activation bits.
FittedLayers = Mapping[tuple[int, str, int, int], FittedLayer]


def fit_layers(
    blueprint: Blueprint,
    batches: Batches,
    calibration: Calibration,
    widths: Sequence[int],
    recipe: Recipe,
) -> Iterator[tuple[int, dict[tuple[int, str, int, int], FittedLayer]]]:
    """Yields each encoder's index and fitted layers, at all pairs of weight and activation bits.

    A layer is fitted to its own input at each width, with everything before it in float: what it yields then
    does not depend on the rest of a configuration.

    Args:
        blueprint: The float model, equalized where the recipe has it so.
        batches: Yields the batches of normalised images anew at each call.
        calibration: Grids of its activation sites.
        widths: Widths that searched tensors may take.
        recipe: What is fitted.

    Raises:
        BitfrontError: A weight is not finite; it is named.
    """
    if not FITTING & set(recipe.ingredients):
        return
    weights = token_weights(blueprint, batches) if TOKEN_WEIGHTS in recipe else None
    for index, moments in layer_moments(blueprint, batches, calibration, widths, weights):
        encoder = blueprint.encoders[index]
        yield (
            index,
            {
                (index, layer, bits, activations): fit_layer(
                    encoder.linear()[layer],
                    found,
                    (bits, activations),
                    recipe,
                    name=f"{encoder.name}.{layer}",
                )
                for (layer, activations), found in moments.items()
                for bits in widths
            },
        )


def fit_layer(
    parts: LinearParts, moments: LayerMoments, bits: tuple[int, int], recipe: Recipe, *, name: str
) -> FittedLayer:
    """Quantizes a layer so that its outputs at quantized inputs come near the float ones.

    Args:
        parts: The float layer.
        moments: Of its inputs.
        bits: Widths of weights and activations.
        recipe: What is fitted.
        name: Of the layer, for errors.
    """
    width, activations = bits
    about = moments.centred() if CORRECTED_BIASES in recipe else moments
    weight = parts.weight
    if REGRESSED_WEIGHTS in recipe and activations <= WIDEST_COMPENSATED:
        weight = regressed(weight, about)
    compensated = COMPENSATED_ROUNDING in recipe and width <= WIDEST_COMPENSATED
    ranges = "mse" if CLIPPED_WEIGHTS in recipe else "minmax"
    found = quantize_weight(
        weight,
        width,
        ranges,
        about.second if compensated else None,
        grouped=GROUPED_WEIGHTS in recipe,
        name=name,
    )
    bias = parts.bias
    if CORRECTED_BIASES in recipe:
        restored = found.codes.double() * found.scales.double()[:, None]
        error = parts.weight.double() @ moments.mean - restored @ moments.quantized_mean
        bias = (bias.double() + error).float()
    return FittedLayer(found, bias)


def regressed(weight: torch.Tensor, moments: LayerMoments) -> torch.Tensor:
    """The weights that from quantized inputs come nearest to the float outputs, by ridge regression.

    ``argmin_V E|W x - V u|^2 + r |V - W|^2`` (ERQ, Zhong et al., arXiv 2407.06794, section 4.2, with the
    ridge towards the float weights instead of zero).
    """
    ridge = RIDGE * moments.second.diagonal().mean()
    if not bool(ridge > 0):  # inputs that are always zero leave nothing to fit
        return weight
    damping = ridge * torch.eye(len(moments.second), dtype=torch.float64, device=weight.device)
    target = weight.double() @ (moments.cross + damping)
    result: torch.Tensor = torch.linalg.solve(moments.second + damping, target.T).T
    return result.float()
