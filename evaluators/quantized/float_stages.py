"""Stages of a float32 residual stream; only what enters a matrix product is in integers."""

from __future__ import annotations

from typing import cast

import torch

from bitfront.evaluators.models.blueprint import LayerNormParts
from bitfront.evaluators.models.float_forward import layer_norm
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms
from bitfront.evaluators.quantized.stages import Norm, Tap
from bitfront.evaluators.quantizers.grids import AffineGrid


class FloatNorm:
    """Float LayerNorm with quantized output."""

    def __init__(self, parts: LayerNormParts, out: AffineGrid, kernels: Kernels) -> None:
        self._kernels = kernels
        self.terms = FloatNormTerms(parts.weight, parts.bias, parts.eps, out.scale, out.zero_point, out.qmax)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float32 ``[rows, channels]``."""
        return self._kernels.float_norm(x, self.terms)


class FloatSum:
    """Adds a linear layer's float32 output to the stream."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def of(self, layer: IntegerLinear, codes: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """float32 output of the layer."""
        return layer.to_float(codes, grid)

    def add(self, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + update

    def add_norm(
        self, x: torch.Tensor, update: torch.Tensor, following: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum and the codes of its LayerNorm."""
        return self._kernels.float_add_norm(x, update, cast(FloatNorm, following).terms)


class FloatProjection:
    """A linear layer whose float32 output begins the stream."""

    def __init__(self, layer: FittedLayer, source: AffineGrid, kernels: Kernels) -> None:
        self._layer = kernels.linear(layer.weight, layer.bias)
        self._source = source

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 ``[rows, out]`` from codes ``[rows, in]``."""
        return self._layer.to_float(codes, self._source)


class FloatPositions:
    """Adds the position embedding to every image's tokens."""

    def __init__(self, positions: torch.Tensor) -> None:
        self._positions = positions

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, ``[rows, channels]``."""
        return (x.view(-1, *self._positions.shape) + self._positions).view_as(x)


class FloatStreamNorm:
    """Float LayerNorm within the stream."""

    def __init__(self, parts: LayerNormParts) -> None:
        self._parts = parts

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32, same shape."""
        return layer_norm(x, self._parts)


class FloatAverage:
    """The average of the tokens, normalised before or after, on the classifier's grid."""

    def __init__(self, parts: LayerNormParts, out: AffineGrid, first: int, *, norm_first: bool) -> None:
        self._parts, self._out, self._first, self._norm_first = parts, out, first, norm_first

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:  # noqa: ARG002 - floats until the last
        """Codes ``[batch, 1, channels]`` of a stream ``[batch, tokens, channels]``."""
        if self._norm_first:
            return self._out.quantize(layer_norm(x, self._parts)[:, self._first :].mean(1, keepdim=True))
        return self._out.quantize(layer_norm(x[:, self._first :].mean(1, keepdim=True), self._parts))
