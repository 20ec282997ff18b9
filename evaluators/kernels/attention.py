"""Attention kernels: head split and merge, integer softmax with uniform or logarithmic codes.

Integers travel through the two attention products in float32 lanes. That is exact: every sum stays below
2^24 in units of its least bit (see :func:`head_dim_limit`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.kernels.compiled import compiled

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Scores sum head_dim products of two centred 8-bit codes: 255 * 255 * 258 is the last below 2^24.
head_dim_limit = 258


@compiled
def split_heads(qkv: U8, zero_point: int, qmax: int, out: F32) -> None:
    """Centres the codes of queries, keys and values and lays them out by head.

    Args:
        qkv: Codes ``[batch, tokens, 3 * heads * head_dim]``.
        zero_point: Code of zero.
        qmax: Largest code; larger ones are clipped to it.
        out: Receives ``[3, batch, heads, tokens, head_dim]``.
    """
    _, batch, heads, tokens, head_dim = out.shape
    for b in range(batch):
        for t in range(tokens):
            for part in range(3):
                for h in range(heads):
                    first = (part * heads + h) * head_dim
                    for d in range(head_dim):
                        code = min(np.int32(qkv[b, t, first + d]), np.int32(qmax))
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
    row: F32, factor: float, zero_point: int, qmax: int, differences: NDArray[np.int32]
) -> None:
    """Codes of a row of scores as differences to the row's largest code."""
    highest = np.int32(0)
    for j in range(len(row)):
        code = np.rint(np.float64(row[j]) * factor) + zero_point
        clipped = np.int32(min(max(code, 0.0), np.float64(qmax)))
        differences[j] = clipped
        highest = max(highest, clipped)
    for j in range(len(row)):
        differences[j] = highest - differences[j]


@compiled
def uniform_softmax(
    scores: F32, factor: float, zero_point: int, qmax: int, table: I64, scale: float, largest: int
) -> None:
    """Replaces rows of scores by uniform attention codes ``clip(round(p / scale), 0, largest)``.

    Args:
        scores: Integer scores in float lanes, ``[rows, tokens]``; overwritten by codes.
        factor: Scale of the integer scores over the scale of their 8-bit codes.
        zero_point: Zero point of the score codes.
        qmax: Largest score code.
        table: Integer exponentials by code difference.
        scale: Probability of one attention code.
        largest: Largest attention code.
    """
    rows, tokens = scores.shape
    differences = np.empty(tokens, np.int32)
    for i in range(rows):
        _score_differences(scores[i], factor, zero_point, qmax, differences)
        total = np.int64(0)
        for j in range(tokens):
            total += table[differences[j]]
        for j in range(tokens):
            probability = np.float64(table[differences[j]]) / np.float64(total)
            scores[i, j] = np.float32(min(np.rint(probability / scale), np.float64(largest)))


@compiled
def log_softmax_codes(
    scores: F32, factor: float, zero_point: int, qmax: int, logarithms: F64, table: I64, values: F32
) -> None:
    """Replaces rows of scores by the values of their logarithmic codes (LIS).

    ``code = round(log2(sum exp / exp_i))``; FQ-ViT (arXiv 2111.13824), equation 15.

    Args:
        scores: Integer scores in float lanes, ``[rows, tokens]``; overwritten by values.
        factor: Scale of the integer scores over the scale of their 8-bit codes.
        zero_point: Zero point of the score codes.
        qmax: Largest score code.
        logarithms: ``log2`` of the table's entries; minus infinity for zero.
        table: Integer exponentials by code difference.
        values: Value of each unclipped code, ``[codes]``; larger codes have the last one.
    """
    rows, tokens = scores.shape
    differences = np.empty(tokens, np.int32)
    last = np.float64(len(values) - 1)
    for i in range(rows):
        _score_differences(scores[i], factor, zero_point, qmax, differences)
        total = np.int64(0)
        for j in range(tokens):
            total += table[differences[j]]
        logarithm = np.log2(np.float64(total))
        for j in range(tokens):
            code = min(np.rint(logarithm - logarithms[differences[j]]), last)
            scores[i, j] = values[np.int64(code)]
