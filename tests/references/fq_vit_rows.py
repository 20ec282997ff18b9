"""Integer LayerNorm and integer softmax of one row in Python integers, after FQ-ViT (arXiv 2111.13824)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def layer_norm_row(
    x: Sequence[int],
    weight: Sequence[float],
    bias: Sequence[float],
    eps: float,
    scale: float,
    out_scales: Sequence[float],
    out_zero: int,
    qmax: int,
) -> list[int]:
    """Integer LayerNorm of one token's shifted, centred codes, in Python integers from M, B and N on."""
    channels = len(x)
    mean = sum(x) / channels
    variance = (channels * sum(v * v for v in x) - sum(x) ** 2) / channels**2
    inverse = 1.0 / math.sqrt(variance + eps / scale**2)
    result = []
    for c in range(channels):
        factor = weight[c] / out_scales[c] * inverse
        shift = 8 if factor == 0.0 else min(31, max(0, 7 - math.floor(math.log2(abs(factor)))))
        multiplier = max(-255, min(255, round(factor * 2**shift)))
        offset = round(bias[c] / out_scales[c] * 2**shift - multiplier * mean)
        half = 1 << (shift - 1) if shift else 0
        result.append(min(max(((multiplier * x[c] + offset + half) >> shift) + out_zero, 0), qmax))
    return result


def integer_exponential(difference: int, scale: float) -> int:
    """``exp(-difference * scale)`` as an integer, by ln 2 decomposition and a second-order polynomial."""
    split = max(0, math.ceil(math.log2(scale * 64 / math.log(2))))
    fine = scale / 2**split
    x = difference * 2**split
    ln2 = math.floor(math.log(2) / fine)
    z, r = divmod(x, ln2)
    if z > 30:
        return 0
    b = math.floor(0.96963238 / (0.35815147 * fine))
    c = math.floor(1.0 / (0.35815147 * fine**2))
    return (((-r + b) * -r + c) << 30) >> z


def softmax_row(codes: Sequence[int], scale: float, bits: int, attention_scale: float) -> list[float]:
    """Attention of one row of score codes: LIS values up to 4 bits, uniform codes above."""
    highest = max(codes)
    exponentials = [integer_exponential(highest - code, scale) for code in codes]
    total = sum(exponentials)
    values = []
    for e in exponentials:
        if bits <= 4:
            code = math.inf if e == 0 else round(math.log2(total) - math.log2(e))
            values.append(2.0**-code if code < 2**bits else 0.0)
        else:
            values.append(float(min(round(e / total / attention_scale), 2**bits - 1)))
    return values
