"""Stages of the integer model: residual sum, integer LayerNorm and integer softmax with their constants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.kernels.attention import log_softmax, uniform_softmax
from bitfront.evaluators.kernels.int_exp import integer_exponentials
from bitfront.evaluators.kernels.layer_norm import add, add_norm, norm
from bitfront.evaluators.models.blueprint import LayerNormParts
from bitfront.evaluators.quantizers import AffineGrid, PowerOfTwoGrid

# Attention of up to this many bits takes logarithmic codes (LIS), wider attention uniform ones.
LOG_BITS = 4
_MULTIPLIER_BITS = 8


class NormConstants(NamedTuple):
    """Arguments of the LayerNorm kernel, in its order; see :func:`add_norm`."""

    shift: NDArray[np.int32]
    epsilon: float
    gain: NDArray[np.float64]
    mantissa: NDArray[np.float64]
    step: NDArray[np.float64]
    bias: NDArray[np.float64]
    zero_point: int
    qmax: int


class IntegerNorm:
    """Integer LayerNorm from a power-of-two grid to an affine one.

    Args:
        parts: The float LayerNorm.
        source: Grid of its input.
        out: Grid of its output.
    """

    def __init__(self, parts: LayerNormParts, source: PowerOfTwoGrid, out: AffineGrid) -> None:
        gain = parts.weight.double().numpy() / out.scale
        mantissa, exponent = np.frexp(np.abs(gain))
        self._source_zero = source.zero_point
        self.constants = NormConstants(
            np.left_shift(1, source.exponents).astype(np.int32),
            parts.eps / source.scale**2,
            gain,
            mantissa,
            np.ldexp(1.0, exponent.astype(np.int64) - _MULTIPLIER_BITS),
            parts.bias.double().numpy() / out.scale,
            out.zero_point,
            out.qmax,
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Output codes of input codes ``[rows, channels]``, both uint8."""
        out = torch.empty_like(x)
        norm(x.numpy(), self._source_zero, *self.constants, out.numpy())
        return out


class ResidualSum:
    """Adds an affine tensor to the residual stream and puts the sum on its own power-of-two grid.

    Args:
        x: Grid of the residual stream (affine for the embedding, before the first sum).
        y: Grid of what is added.
        total: Grid of the sum.
    """

    def __init__(self, x: AffineGrid | PowerOfTwoGrid, y: AffineGrid, total: PowerOfTwoGrid) -> None:
        scales = total.channel_scales
        x_scales = x.channel_scales if isinstance(x, PowerOfTwoGrid) else x.scale
        self._terms = (x.zero_point, x_scales / scales, y.zero_point, y.scale / scales)
        self._grid = (total.zero_point, total.qmax)

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Codes of the sum of codes ``x [rows, channels]`` and ``y [period, channels]``."""
        total = torch.empty_like(x)
        x_zero, x_factor, y_zero, y_factor = self._terms
        add(x.numpy(), x_zero, x_factor, y.numpy(), y_zero, y_factor, *self._grid, total.numpy())
        return total

    def then_norm(
        self, x: torch.Tensor, y: torch.Tensor, following: IntegerNorm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of the sum, and of its LayerNorm, in one pass over the tokens."""
        total, out = torch.empty_like(x), torch.empty_like(x)
        x_zero, x_factor, y_zero, y_factor = self._terms
        left = x.numpy(), x_zero, x_factor, y.numpy(), y_zero, y_factor, *self._grid, total.numpy()
        add_norm(*left, *following.constants, out.numpy())
        return total, out


class IntegerSoftmax:
    """Integer softmax of 8-bit scores with attention codes of a chosen width.

    Args:
        integer_scale: Scale of the integer products ``q k^T``, the head's scaling included.
        scores: Grid of the scores.
        attention: Grid of uniform attention codes (unused at 4 bits or fewer).
        bits: Attention width; up to 4 takes logarithmic codes, more takes uniform ones.

    Attributes:
        scale: What one unit of the returned values stands for.
    """

    def __init__(self, integer_scale: float, scores: AffineGrid, attention: AffineGrid, bits: int) -> None:
        self.logarithmic = bits <= LOG_BITS
        self.scale = 1.0 if self.logarithmic else attention.scale
        self._factor = integer_scale / scores.scale
        self._scores = scores
        self._codes = 1 << bits
        self._table = integer_exponentials(scores.scale, scores.qmax + 1)
        self._exponentials = self._table.astype(np.float64)

    def __call__(self, scores: torch.Tensor) -> None:
        """Overwrites integer scores ``[..., tokens]`` (float32 lanes) by attention in units of ``scale``."""
        rows = scores.view(-1, scores.shape[-1]).numpy()
        grid, tables = self._scores, (self._table, self._exponentials)
        if self.logarithmic:
            log_softmax(rows, self._factor, grid.zero_point, grid.qmax, *tables, self._codes)
        else:
            largest = self._codes - 1
            uniform_softmax(rows, self._factor, grid.zero_point, grid.qmax, *tables, self.scale, largest)
