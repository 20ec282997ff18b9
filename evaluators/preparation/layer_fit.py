"""Linear layers fitted to the quantized inputs that they will see, from second moments of these inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, EncoderWalk
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.fisher import TokenWeights, token_weights
from bitfront.evaluators.preparation.recipes import (
    COMPENSATED_ROUNDING,
    CORRECTED_BIASES,
    GROUPED_WEIGHTS,
    REGRESSED_WEIGHTS,
    TOKEN_WEIGHTS,
    Recipe,
)
from bitfront.evaluators.quantizers.weights import HeldWeight, QuantizedWeight, held_weight
from bitfront.spaces import Choices, FormatName, number_format

# Variance that every centred input has at least, as a share of the inputs' mean square.
LEAST_SPREAD = 1e-9
# Wider codes round so finely that compensation and regression change nothing that can be measured.
WIDEST_COMPENSATED = 6
# Of the ridge, as a share of the inputs' mean square: images are few, and a regression without one would
# shrink what is rare in them.
RIDGE = 1.0
FITTING = frozenset({GROUPED_WEIGHTS, COMPENSATED_ROUNDING, REGRESSED_WEIGHTS, CORRECTED_BIASES})


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """Moments of a layer's float input ``x`` and of its quantized input ``u``, in the same units.

    Averages over the tokens of the calibration set, weighted where tokens have weights; float64.

    Attributes:
        mean: ``E[x]``, ``[in]``.
        quantized_mean: ``E[u]``, ``[in]``.
        second: ``E[u u^T]``, ``[in, in]``.
        cross: ``E[x u^T]``, ``[in, in]``.
    """

    mean: torch.Tensor
    quantized_mean: torch.Tensor
    second: torch.Tensor
    cross: torch.Tensor

    def centred(self) -> LayerMoments:
        """The same about the means: what is left to the weights where the bias takes the mean error."""
        u = self.quantized_mean
        # What rounding leaves of large means is no spread.
        floor = LEAST_SPREAD * self.second.diagonal().mean()
        least = floor * torch.eye(len(u), dtype=u.dtype, device=u.device)
        second = self.second - torch.outer(u, u) + least
        cross = self.cross - torch.outer(self.mean, u) + least
        return LayerMoments(self.mean, u, second, cross)


class _Sums:
    """Running sums of one layer at one width.

    They are sums of distances to the first batch's means: of inputs that hardly move, products in float32
    would keep the means alone.
    """

    def __init__(self) -> None:
        self._about: list[torch.Tensor] = []
        self._sums: list[torch.Tensor] = []
        self._weight = 0.0

    def add(self, x: torch.Tensor, u: torch.Tensor, weights: torch.Tensor) -> None:
        if not self._about:
            self._about = [x.mean(0), u.mean(0)]
        x, u = x - self._about[0], u - self._about[1]
        weighted = u * weights[:, None]
        parts = [weights @ x, weights @ u, u.T @ weighted, x.T @ weighted]
        doubles = [part.double() for part in parts]
        self._sums = [a.add_(b) for a, b in zip(self._sums, doubles, strict=True)] if self._sums else doubles
        self._weight += float(weights.sum())

    def moments(self) -> LayerMoments:
        mean, quantized_mean, second, cross = (total / self._weight for total in self._sums)
        x, u = (about.double() for about in self._about)
        second += torch.outer(quantized_mean, u) + torch.outer(u, quantized_mean) + torch.outer(u, u)
        cross += torch.outer(mean, u) + torch.outer(x, quantized_mean) + torch.outer(x, u)
        return LayerMoments(mean + x, quantized_mean + u, second, cross)


@torch.inference_mode()
def layer_moments(
    blueprint: Blueprint,
    batches: Batches,
    calibration: Calibration,
    inputs_held: Sequence[FormatName],
    weights: TokenWeights | None = None,
) -> Iterator[tuple[int, dict[tuple[str, FormatName], LayerMoments]]]:
    """Yields each encoder's index and moments by (layer, format of its input), in one pass over the set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
        calibration: Grids of the inputs.
        inputs_held: Formats of the inputs.
        weights: Of the tokens; all alike where None.
    """
    walk = EncoderWalk(blueprint, batches())
    for index, encoder in enumerate(blueprint.encoders):
        inputs = {f"{encoder.name}.{site}": layer for layer, site in LAYER_INPUTS.items()}
        sums = {(layer, held): _Sums() for layer in inputs.values() for held in inputs_held}

        def look(batch: int, site: str, value: torch.Tensor) -> None:
            if site not in inputs:  # noqa: B023 - called within this turn of the loop
                return
            layer, x = inputs[site], value.reshape(-1, value.shape[-1])  # noqa: B023
            of_tokens = x.new_ones(len(x)) if weights is None else weights[index, layer][batch]  # noqa: B023
            for held in inputs_held:
                sums[layer, held].add(x, calibration.quantized(site, held, x), of_tokens)  # noqa: B023

        walk.advance(look)
        yield index, {key: found.moments() for key, found in sums.items()}


@dataclass(frozen=True, eq=False)
class FittedLayer:
    """A linear layer as a format holds its weight, and the float32 bias ``[out]``."""

    weight: HeldWeight
    bias: torch.Tensor

    @property
    def quantized(self) -> QuantizedWeight:
        """Its weight where that is of integers, as those of every layer outside the encoders are."""
        assert isinstance(self.weight, QuantizedWeight), "asked for where it is"
        return self.weight


LayerKey = tuple[int, str, FormatName, FormatName]  # encoder, layer, formats of weight and input
FittedLayers = Mapping[LayerKey, FittedLayer]


def fit_layers(
    blueprint: Blueprint, batches: Batches, calibration: Calibration, choices: Choices, recipe: Recipe
) -> Iterator[tuple[int, dict[LayerKey, FittedLayer]]]:
    """Yields each encoder's index and fitted layers, at all pairs of formats of weight and input.

    A layer is fitted to its own input in each format, with everything before it in float: what it yields then
    does not depend on the rest of a configuration.

    Args:
        blueprint: The float model, equalized where the recipe has it so.
        batches: Yields the batches of normalised images, from the first on at each call.
        calibration: Grids of its activation sites.
        choices: Formats that searched tensors may take.
        recipe: What is fitted.

    Raises:
        BitfrontError: A weight is not finite; it is named.
    """
    if not FITTING & set(recipe.ingredients):
        return
    weights = token_weights(blueprint, batches) if TOKEN_WEIGHTS in recipe else None
    for index, moments in layer_moments(blueprint, batches, calibration, choices.activations, weights):
        encoder, fitted = blueprint.encoders[index], {}
        for (layer, activations), found in moments.items():
            parts, name = encoder.linear()[layer], f"{encoder.name}.{layer}"
            for held in choices.weights:
                key = (index, layer, held, activations)
                fitted[key] = fit_layer(parts, found, (held, activations), recipe, name=name)
        yield index, fitted


def fit_layer(
    parts: LinearParts,
    moments: LayerMoments,
    held: tuple[FormatName, FormatName],
    recipe: Recipe,
    *,
    name: str,
) -> FittedLayer:
    """Quantizes a layer so that its outputs at quantized inputs come near the float ones.

    Args:
        parts: The float layer.
        moments: Of its inputs.
        held: Formats of weight and input.
        recipe: What is fitted.
        name: Of the layer, for errors.
    """
    weights, inputs = map(number_format, held)
    about = moments.centred() if CORRECTED_BIASES in recipe else moments
    weight = parts.weight
    if REGRESSED_WEIGHTS in recipe and inputs.bits <= WIDEST_COMPENSATED:
        weight = regressed(weight, about)
    compensated = COMPENSATED_ROUNDING in recipe and weights.bits <= WIDEST_COMPENSATED
    second, ranges = about.second if compensated else None, recipe.weight_ranges
    found = held_weight(weight, weights.key, ranges, second, grouped=GROUPED_WEIGHTS in recipe, name=name)
    bias = parts.bias
    if CORRECTED_BIASES in recipe:
        error = parts.weight.double() @ moments.mean - found.restored() @ moments.quantized_mean
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
