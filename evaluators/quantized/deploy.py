"""Scheme ``deploy``: what CPU and GPU runtimes execute, integer matrix products between float stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from bitfront.evaluators.models.blueprint import Blueprint, LayerNormParts
from bitfront.evaluators.models.float_forward import Tap, layer_norm
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms
from bitfront.evaluators.quantized.scheme import Norm, ScoreTerms
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces.schemes import DEPLOY, pinned_bits

_PINNED = dict(pinned_bits(DEPLOY))


@dataclass(frozen=True, eq=False)
class Deploy:
    """Linear layers and attention products in integers, everything else in float32; see :class:`Scheme`."""

    blueprint: Blueprint
    calibration: Calibration
    kernels: Kernels

    def project_patches(self, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        image = self.calibration.grid("image", _PINNED["embedding"])
        return FloatProjection(layer, image, self.kernels)

    def prefix(self) -> torch.Tensor:
        """See :class:`Scheme`."""
        return self.blueprint.prefix

    def positions(self) -> FloatPositions | None:
        """See :class:`Scheme`."""
        values = self.blueprint.positions
        return None if values is None else FloatPositions(values)

    def embed_norm(self) -> FloatStreamNorm | None:
        """See :class:`Scheme`."""
        parts = self.blueprint.embed_norm
        return None if parts is None else FloatStreamNorm(parts)

    def norm(self, index: int, number: int, bits: int) -> FloatNorm:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        parts = encoder.norm1 if number == 1 else encoder.norm2
        return FloatNorm(parts, self.calibration.grid(f"{encoder.name}.norm{number}", bits), self.kernels)

    def updates(self, index: int) -> tuple[FloatSum, FloatSum]:  # noqa: ARG002 - alike in every encoder
        """See :class:`Scheme`."""
        return FloatSum(self.kernels), FloatSum(self.kernels)

    def scores(self, index: int, activations: int) -> ScoreTerms:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        step = self.calibration.grid(f"{encoder.name}.attn.qkv", activations).scale
        bias = None if encoder.window is None else encoder.window.bias
        return ScoreTerms(step * step * encoder.score_scales, bias, None)

    def merge_norm(self, index: int) -> FloatNorm:
        """See :class:`Scheme`."""
        parts, grid = self.blueprint.merges[index].norm, self._merge_grid(index)
        return FloatNorm(parts, grid, self.kernels)

    def merge_projection(self, index: int, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        return FloatProjection(layer, self._merge_grid(index), self.kernels)

    def _merge_grid(self, index: int) -> AffineGrid:
        return self.calibration.grid(f"{self.blueprint.merges[index].name}.norm", _PINNED["embedding"])

    def final_norm(self) -> FloatNorm:
        """See :class:`Scheme`."""
        out = self.calibration.grid("norm", _PINNED["head"])
        return FloatNorm(self.blueprint.readout.norm, out, self.kernels)

    def average(self, first: int) -> FloatAverage:
        """See :class:`Scheme`."""
        readout = self.blueprint.readout
        out = self.calibration.grid("norm", _PINNED["head"])
        return FloatAverage(readout.norm, out, first, norm_first=readout.norm_first)

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """See :class:`Scheme`: as they are."""
        return value


# The stages of its float32 residual stream; only what enters a matrix product is in integers.


class FloatNorm:
    """Float LayerNorm with quantized output."""

    def __init__(self, parts: LayerNormParts, out: AffineGrid, kernels: Kernels) -> None:
        self._kernels = kernels
        self.terms = FloatNormTerms(parts.weight, parts.bias, parts.eps, out.scale, out.zero_point, out.qmax)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float32 ``[rows, channels]``."""
        return self._kernels.float_norm(x, self.terms)


@dataclass(frozen=True)
class FloatSum:
    """Adds a linear layer's float32 output to the stream."""

    kernels: Kernels

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
        return self.kernels.float_add_norm(x, update, cast(FloatNorm, following).terms)


class FloatProjection:
    """A linear layer whose float32 output begins the stream."""

    def __init__(self, layer: FittedLayer, source: AffineGrid, kernels: Kernels) -> None:
        self._layer = kernels.linear(layer.weight, layer.bias)
        self._source = source

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 ``[rows, out]`` from codes ``[rows, in]``."""
        return self._layer.to_float(codes, self._source)


@dataclass(frozen=True, eq=False)
class FloatPositions:
    """Adds the position embedding to every image's tokens."""

    positions: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, ``[rows, channels]``."""
        return (x.view(-1, *self.positions.shape) + self.positions).view_as(x)


@dataclass(frozen=True, eq=False)
class FloatStreamNorm:
    """Float LayerNorm within the stream."""

    parts: LayerNormParts

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32, same shape."""
        return layer_norm(x, self.parts)


class FloatAverage:
    """The average of the tokens, normalised before or after, on the classifier's grid."""

    def __init__(self, parts: LayerNormParts, out: AffineGrid, first: int, *, norm_first: bool) -> None:
        self._parts, self._out, self._first, self._norm_first = parts, out, first, norm_first

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:  # noqa: ARG002 - floats until the last
        """Codes ``[batch, 1, channels]`` of a stream ``[batch, tokens, channels]``."""
        if self._norm_first:
            return self._out.quantize(layer_norm(x, self._parts)[:, self._first :].mean(1, keepdim=True))
        return self._out.quantize(layer_norm(x[:, self._first :].mean(1, keepdim=True), self._parts))
