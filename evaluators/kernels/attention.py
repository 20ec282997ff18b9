"""Attention kernels: head split and merge, integer softmax with uniform or logarithmic codes.

Integers travel through the two attention products in float32 lanes. That is exact: every sum stays below
2^24 in units of its least bit (see :data:`HEAD_DIM_LIMIT`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.kernels.compiled import compiled

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Dekker's splitting with this factor leaves one significant bit, changing powers at 1.5 * 2^k; the second
# factor moves the change to sqrt(2) * 2^k, where rounding log2 has it.
ONE_BIT = 2.0**52 + 1.0
HALFWAY = 1.5 / np.sqrt(2.0)
# Scores sum head_dim products of two centred 8-bit codes: 255 * 255 * 258 is the last below 2^24.
HEAD_DIM_LIMIT = 258


@compiled
def split_heads(qkv: U8, zero_point: int, out: F32) -> None:
    """Centres the codes of queries, keys and values and lays them out by head.

    Args:
        qkv: Codes ``[batch, tokens, 3 * heads * head_dim]``.
        zero_point: Code of zero.
        out: Receives ``[3, batch, heads, tokens, head_dim]``.
    """
    _, batch, heads, tokens, head_dim = out.shape
    for b in range(batch):
        for t in range(tokens):
            for part in range(3):
                for h in range(heads):
                    first = (part * heads + h) * head_dim
                    for d in range(head_dim):
                        code = np.int32(qkv[b, t, first + d])
                        out[part, b, h, t, d] = np.float32(code - np.int32(zero_point))


@compiled
def merge_heads(context: F32, factor: float, zero_point: int, qmax: int, out: U8) -> None:
    """Requantizes the attention output and puts the heads side by side.

    Args:
        context: Integer sums in float lanes, ``[batch, heads, tokens, head_dim]``.
        factor: Scale of the sums over the scale of the output.
        zero_point: The output's code of zero.
        qmax: The output's largest code.
        out: Receives codes ``[batch, tokens, heads * head_dim]``.
    """
    batch, heads, tokens, head_dim = context.shape
    for b in range(batch):
        for h in range(heads):
            for t in range(tokens):
                for d in range(head_dim):
                    code = np.rint(np.float64(context[b, h, t, d]) * factor) + zero_point
                    out[b, t, h * head_dim + d] = np.uint8(min(max(code, 0.0), np.float64(qmax)))


@compiled
def _score_differences(
    row: F32, factor: float, zero_point: int, qmax: int, table: I64, differences: U32
) -> np.int64:
    """Codes of a row of scores as differences to its largest code; returns the sum of their exponentials."""
    # Unsigned positions spare the look-ups a test for negative ones, which would keep them from vectorizing.
    highest = np.uint32(0)
    for j in range(len(row)):
        code = np.rint(np.float64(row[j]) * factor) + zero_point
        clipped = np.uint32(np.int32(min(max(code, 0.0), np.float64(qmax))))
        differences[j] = clipped
        highest = max(highest, clipped)
    total = np.int64(0)
    for j in range(len(row)):
        difference = np.uint32(highest - differences[j])
        differences[j] = difference
        total += table[difference]
    return total


@compiled
def uniform_softmax(
    scores: F32,
    factor: float,
    zero_point: int,
    qmax: int,
    table: I64,
    exponentials: F64,
    scale: float,
    largest: int,
) -> None:
    """Replaces rows of scores by uniform attention codes ``clip(round(p / scale), 0, largest)``.

    Args:
        scores: Integer scores in float lanes, ``[rows, tokens]``; overwritten by codes.
        factor: Scale of the integer scores over the scale of their 8-bit codes.
        zero_point: Zero point of the score codes.
        qmax: Largest score code.
        table: Integer exponentials by code difference.
        exponentials: The same in float64, which holds them exactly.
        scale: Probability of one attention code.
        largest: Largest attention code.
    """
    rows, tokens = scores.shape
    differences = np.empty(tokens, np.uint32)
    for i in range(rows):
        total = _score_differences(scores[i], factor, zero_point, qmax, table, differences)
        codes_per_unit = 1.0 / (np.float64(total) * scale)
        for j in range(tokens):
            code = np.rint(exponentials[differences[j]] * codes_per_unit)
            scores[i, j] = np.float32(min(code, np.float64(largest)))


@compiled
def log_softmax(
    scores: F32, factor: float, zero_point: int, qmax: int, table: I64, exponentials: F64, codes: int
) -> None:
    """Replaces rows of scores by the values of their logarithmic codes (LIS).

    ``code = round(log2(sum exp / exp_i))`` with value ``2^-code``, and 0 where the code needs more bits than
    there are; FQ-ViT (arXiv 2111.13824), equation 15. The nearest power of two of a probability is found by
    rounding it to one significant bit.

    Args:
        scores: Integer scores in float lanes, ``[rows, tokens]``; overwritten by values.
        factor: Scale of the integer scores over the scale of their 8-bit codes.
        zero_point: Zero point of the score codes.
        qmax: Largest score code.
        table: Integer exponentials by code difference.
        exponentials: The same in float64, which holds them exactly.
        codes: Number of codes; probabilities beyond them are worth 0.
    """
    rows, tokens = scores.shape
    differences = np.empty(tokens, np.uint32)
    least = 2.0 ** (1 - codes)
    for i in range(rows):
        total = _score_differences(scores[i], factor, zero_point, qmax, table, differences)
        per_unit = HALFWAY / np.float64(total)
        for j in range(tokens):
            probability = exponentials[differences[j]] * per_unit
            spread = probability * ONE_BIT
            power = spread - (spread - probability)
            scores[i, j] = np.float32(power if power >= least else 0.0)
