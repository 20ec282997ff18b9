"""Float32 LayerNorm with quantized output, alone and fused with the residual sum before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.kernels.compiled import compiled, compiled_with_free_summation

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@compiled_with_free_summation
def _mean(row: F32) -> np.float32:
    total = np.float32(0.0)
    for c in range(len(row)):
        total += row[c]
    return total / np.float32(len(row))


@compiled_with_free_summation
def _variance(row: F32, mean: np.float32) -> np.float32:
    total = np.float32(0.0)
    for c in range(len(row)):
        deviation = row[c] - mean
        total += deviation * deviation
    return total / np.float32(len(row))


@compiled
def _normalise_row(row: F32, weight: F32, bias: F32, epsilon: float, zero: int, qmax: int, out: U8) -> None:
    mean = _mean(row)
    inverse = np.float32(1.0) / np.sqrt(_variance(row, mean) + np.float32(epsilon))
    offset, largest = np.float32(zero), np.float32(qmax)
    for c in range(len(row)):
        code = np.rint((row[c] - mean) * inverse * weight[c] + bias[c]) + offset
        out[c] = np.uint8(min(max(code, np.float32(0.0)), largest))


@compiled
def float_norm(x: F32, weight: F32, bias: F32, epsilon: float, zero: int, qmax: int, out: U8) -> None:
    """LayerNorm of ``[rows, channels]``; weight and bias are over the output scale."""
    for i in range(len(x)):
        _normalise_row(x[i], weight, bias, epsilon, zero, qmax, out[i])


@compiled
def float_add_norm(
    x: F32, update: F32, total: F32, weight: F32, bias: F32, epsilon: float, zero: int, qmax: int, out: U8
) -> None:
    """The sum of two ``[rows, channels]``, and its LayerNorm's codes; arguments as in :func:`float_norm`."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            total[i, c] = x[i, c] + update[i, c]
        _normalise_row(total[i], weight, bias, epsilon, zero, qmax, out[i])
