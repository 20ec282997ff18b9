"""Second moments of every linear layer's input, float and quantized, over the calibration set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.calibration import Batches, Calibration
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import EncoderWalk
from bitfront.evaluators.sites import LAYER_INPUTS
from bitfront.evaluators.token_weights import TokenWeights

# Variance that every centred input has at least, as a share of the inputs' mean square.
LEAST_SPREAD = 1e-9


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
    widths: Sequence[int],
    weights: TokenWeights | None = None,
) -> Iterator[tuple[int, dict[tuple[str, int], LayerMoments]]]:
    """Yields each encoder's index and moments by (layer, activation bits), in one pass over the set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images anew at each call.
        calibration: Grids of the inputs.
        widths: Widths of the inputs.
        weights: Of the tokens; all alike where None.
    """
    walk = EncoderWalk(blueprint, batches())
    for index, encoder in enumerate(blueprint.encoders):
        inputs = {f"{encoder.name}.{site}": layer for layer, site in LAYER_INPUTS.items()}
        sums = {(layer, bits): _Sums() for layer in inputs.values() for bits in widths}

        def look(batch: int, site: str, value: torch.Tensor) -> None:
            if site not in inputs:  # noqa: B023 - called within this turn of the loop
                return
            layer, x = inputs[site], value.reshape(-1, value.shape[-1])  # noqa: B023
            of_tokens = x.new_ones(len(x)) if weights is None else weights[index, layer][batch]  # noqa: B023
            for bits in widths:
                sums[layer, bits].add(x, calibration.quantized(site, bits, x), of_tokens)  # noqa: B023

        walk.advance(look)
        yield index, {key: found.moments() for key, found in sums.items()}
