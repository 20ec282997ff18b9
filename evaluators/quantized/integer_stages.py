"""Stages of an integer residual stream: uint8 codes on power-of-two grids."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch

from bitfront.evaluators.models.float_forward import Tap
from bitfront.evaluators.models.parts import NormParts
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.kernels.norm_terms import IntegerNormTerms, SumTerms
from bitfront.evaluators.quantized.scheme import Norm
from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid

_MULTIPLIER_BITS = 8
Grid = AffineGrid | PowerOfTwoGrid


def channel_scales(grid: Grid, channels: int) -> torch.Tensor:
    """Scale of each channel of a grid, float64 ``[channels]`` on the CPU."""
    if isinstance(grid, PowerOfTwoGrid):
        return torch.from_numpy(grid.channel_scales)
    return torch.full((channels,), grid.scale, dtype=torch.float64)


class IntegerNorm:
    """Integer LayerNorm of codes on a power-of-two grid.

    Args:
        parts: The float LayerNorm.
        source: Grid of its input.
        out: Grid of its output, affine before a linear layer, power-of-two within the stream.
        kernels: What computes it.
    """

    def __init__(self, parts: NormParts, source: PowerOfTwoGrid, out: Grid, kernels: Kernels) -> None:
        scales = channel_scales(out, len(parts.weight))
        gain = parts.weight.double().cpu() / scales
        mantissa, exponent = torch.frexp(gain.abs())
        exponents = torch.from_numpy(source.exponents).to(torch.int32)
        self._kernels = kernels
        self.terms = IntegerNormTerms(
            source.zero_point,
            torch.bitwise_left_shift(torch.ones_like(exponents), exponents).to(kernels.device),
            parts.eps / source.scale**2,
            gain.to(kernels.device),
            mantissa.to(kernels.device),
            torch.exp2(exponent.double() - _MULTIPLIER_BITS).to(kernels.device),
            (parts.bias.double().cpu() / scales).to(kernels.device),
            out.zero_point,
            out.qmax,
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Output codes of input codes ``[rows, channels]``."""
        return self._kernels.integer_norm(x, self.terms)


class IntegerSum:
    """Adds codes to codes and puts the sum on a grid of its own.

    Args:
        x: Grid of what is added to: the residual stream, or the embedded patches.
        y: Grid of what is added.
        total: Grid of the sum.
        kernels: What computes it.
    """

    def __init__(self, x: Grid, y: AffineGrid, total: PowerOfTwoGrid, kernels: Kernels) -> None:
        channels = len(total.exponents)
        scales = channel_scales(total, channels)
        self._kernels = kernels
        self.terms = SumTerms(
            x.zero_point,
            (channel_scales(x, channels) / scales).to(kernels.device),
            y.zero_point,
            (channel_scales(y, channels) / scales).to(kernels.device),
            total.zero_point,
            total.qmax,
        )
        self.added = y

    def of(self, layer: IntegerLinear, codes: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """Codes of the layer's output on the grid of what is added."""
        return layer.to_codes(codes, grid, self.added)

    def add(self, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """Codes of the sum of ``x [rows, channels]`` and ``update [period, channels]``, repeated."""
        return self._kernels.integer_add(x, update, self.terms)

    def add_norm(
        self, x: torch.Tensor, update: torch.Tensor, following: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of the sum and of its integer LayerNorm."""
        return self._kernels.integer_add_norm(x, update, self.terms, cast(IntegerNorm, following).terms)


class CodeProjection:
    """A linear layer onto the stream's grid; the channels' powers of two go into the output scales."""

    def __init__(self, layer: FittedLayer, source: AffineGrid, out: Grid, kernels: Kernels) -> None:
        weight, bias = layer.quantized, layer.bias
        if isinstance(out, PowerOfTwoGrid):
            factors = torch.exp2(-torch.from_numpy(out.exponents).double()).float().to(kernels.device)
            weight = dataclasses.replace(weight, scales=weight.scales * factors)
            bias = bias * factors
        self.layer = FittedLayer(weight, bias)
        self._run = kernels.linear(weight, bias)
        self.source = source
        self.out = AffineGrid(out.scale, out.zero_point, out.qmax)

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes of the stream from codes ``[rows, in]``."""
        return self._run.to_codes(codes, self.source, self.out)


class IntegerPositions:
    """Adds the quantized position embedding to every image's tokens."""

    def __init__(self, positions: torch.Tensor, grid: AffineGrid, total: IntegerSum) -> None:
        self.codes = grid.quantize(positions)
        self.sum = total

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of the sum."""
        return self.sum.add(x, self.codes)


class IntegerAverage:
    """The average over tokens on a grid of its own: their integers are added up, the sum is rounded once.

    Args:
        source: Grid of the tokens.
        out: Grid of the average.
        first: First token that counts.
        tokens: How many there are.
        channels: Of each.
    """

    def __init__(self, source: Grid, out: Grid, first: int, tokens: int, channels: int) -> None:
        self.source, self.out, self.first = source, out, first
        steps = channel_scales(out, channels) * (tokens - first)
        self.factors = channel_scales(source, channels) / steps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``[batch, 1, channels]`` of codes ``[batch, tokens, channels]``."""
        total = (x[:, self.first :].to(torch.int64) - self.source.zero_point).sum(1, keepdim=True)
        codes = (total.double() * self.factors.to(x.device)).round_() + self.out.zero_point
        return codes.clamp_(0, self.out.qmax).to(torch.uint8)


class NormThenAverage:
    """Integer LayerNorm of every token, then their average on the classifier's grid."""

    def __init__(self, norm: IntegerNorm, average: IntegerAverage) -> None:
        self.norm, self.average = norm, average

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:
        """Codes ``[batch, 1, channels]`` of stream codes ``[batch, tokens, channels]``."""
        codes = self.norm(x.reshape(-1, x.shape[-1])).view(x.shape)
        tap("norm_tokens", codes)
        return self.average(codes)


class AverageThenNorm:
    """The average of the tokens on a power-of-two grid, then its integer LayerNorm."""

    def __init__(self, average: IntegerAverage, norm: IntegerNorm) -> None:
        self.average, self.norm = average, norm

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:
        """Codes ``[batch, 1, channels]`` of stream codes ``[batch, tokens, channels]``."""
        pooled = self.average(x)
        tap("pool", pooled[:, 0])
        return self.norm(pooled[:, 0])[:, None]
