"""LayerNorm, in integers or float32 with quantized output, alone and fused with the sum before it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.quantized.kernels.compiled import compiled, compiled_with_free_summation

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# M has 8 bits and N at most 31 (FQ-ViT, arXiv 2111.13824, section 3.2).
MULTIPLIER_MAX = 255.0
FINEST_STEP = 2.0**-31
F32 = NDArray[np.float32]


@compiled_with_free_summation
def _moments(row: I32) -> tuple[float, float]:
    """Sum and sum of squares: integers below 2^53, exact in float64 in any order."""
    total = np.float64(0.0)
    squares = np.float64(0.0)
    for c in range(len(row)):
        value = np.float64(row[c])
        total += value
        squares += value * value
    return total, squares


@compiled
def _normalise_row(
    row: I32,
    epsilon: float,
    gain: F64,
    mantissa: F64,
    step: F64,
    bias: F64,
    zero_point: int,
    qmax: int,
    out: U8,
) -> None:
    """Normalises one token's shifted codes: rounded ``(M x + B) >> N`` per channel, plus zero point."""
    channels = len(row)
    total, squares = _moments(row)
    mean = total / channels
    variance = (channels * squares - total * total) / (np.float64(channels) * channels)
    inverse = 1.0 / np.sqrt(variance + epsilon)
    fraction, exponent = math.frexp(inverse)
    token_step = math.ldexp(1.0, exponent)
    zero, largest = np.float64(zero_point), np.float64(qmax)
    for c in range(channels):
        # 2^-N is the step that gives |M| eight bits: 2^-8 times the power of two above |gain / sigma|.
        below = 0.5 if mantissa[c] * fraction < 0.5 else 1.0
        unit = min(max(step[c] * token_step * below, FINEST_STEP), 1.0)
        per_unit = 1.0 / unit
        multiplier = np.rint(gain[c] * inverse * per_unit)
        multiplier = min(max(multiplier, -MULTIPLIER_MAX), MULTIPLIER_MAX)
        offset = np.rint(bias[c] * per_unit - multiplier * mean)
        code = np.floor((multiplier * row[c] + offset) * unit + 0.5) + zero
        out[c] = np.uint8(np.int32(min(max(code, 0.0), largest)))


@compiled
def norm(
    x: U8,
    x_zero: int,
    shift: I32,
    epsilon: float,
    gain: F64,
    mantissa: F64,
    step: F64,
    bias: F64,
    zero_point: int,
    qmax: int,
    out: U8,
) -> None:
    """Integer LayerNorm of codes ``[rows, channels]`` on a power-of-two grid; see :func:`add_norm`."""
    rows, channels = x.shape
    row = np.empty(channels, np.int32)
    for i in range(rows):
        for c in range(channels):
            row[c] = (np.int32(x[i, c]) - np.int32(x_zero)) * shift[c]
        _normalise_row(row, epsilon, gain, mantissa, step, bias, zero_point, qmax, out[i])


@compiled
def add(
    x: U8, x_zero: int, x_factor: F64, y: U8, y_zero: int, y_factor: F64, zero: int, qmax: int, total: U8
) -> None:
    """The residual sum alone; arguments as in :func:`add_norm`."""
    rows, channels = x.shape
    for i in range(rows):
        other = y[i % len(y)]
        for c in range(channels):
            value = (np.float64(x[i, c]) - x_zero) * x_factor[c] + (np.float64(other[c]) - y_zero) * y_factor[
                c
            ]
            total[i, c] = np.uint8(min(max(np.rint(value) + zero, 0.0), np.float64(qmax)))


@compiled
def add_norm(
    x: U8,
    x_zero: int,
    x_factor: F64,
    y: U8,
    y_zero: int,
    y_factor: F64,
    zero: int,
    qmax: int,
    total: U8,
    shift: I32,
    epsilon: float,
    gain: F64,
    mantissa: F64,
    step: F64,
    bias: F64,
    out_zero: int,
    out_qmax: int,
    out: U8,
) -> None:
    """Adds two code tensors onto a power-of-two grid and normalises the sum.

    Args:
        x: Codes ``[rows, channels]`` of the residual stream.
        x_zero: Their zero point.
        x_factor: Their channel scales over the sum's channel scales, ``[channels]``.
        y: Codes that are added, ``[period, channels]``; repeated every ``period`` rows.
        y_zero: Their zero point.
        y_factor: Their scale over the sum's channel scales, ``[channels]``.
        zero: Zero point of the sum's grid.
        qmax: Largest code of the sum's grid.
        total: Receives the sum's codes.
        shift: ``2^exponent`` of the sum's channels.
        epsilon: LayerNorm's epsilon in units of the squared layer scale.
        gain: LayerNorm's weight over the output scale.
        mantissa: ``frexp`` fraction of ``|gain|``, ``[channels]``.
        step: ``2^-8`` times the ``frexp`` power of two of ``|gain|``.
        bias: LayerNorm's bias over the output scale.
        out_zero: Zero point of the output.
        out_qmax: Largest code of the output.
        out: Receives the output's codes.
    """
    rows, channels = x.shape
    row = np.empty(channels, np.int32)
    for i in range(rows):
        other = y[i % len(y)]
        for c in range(channels):
            value = (np.float64(x[i, c]) - x_zero) * x_factor[c] + (np.float64(other[c]) - y_zero) * y_factor[
                c
            ]
            code = min(max(np.rint(value) + zero, 0.0), np.float64(qmax))
            total[i, c] = np.uint8(code)
            row[c] = (np.int32(code) - np.int32(zero)) * shift[c]
        _normalise_row(row, epsilon, gain, mantissa, step, bias, out_zero, out_qmax, out[i])


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
def _float_row(row: F32, weight: F32, bias: F32, epsilon: float, zero: int, qmax: int, out: U8) -> None:
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
        _float_row(x[i], weight, bias, epsilon, zero, qmax, out[i])


@compiled
def float_add_norm(
    x: F32, update: F32, total: F32, weight: F32, bias: F32, epsilon: float, zero: int, qmax: int, out: U8
) -> None:
    """The sum of two ``[rows, channels]``, and its LayerNorm's codes; arguments as in :func:`float_norm`."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            total[i, c] = x[i, c] + update[i, c]
        _float_row(total[i], weight, bias, epsilon, zero, qmax, out[i])
