"""Attention of many shapes: terms at which every code is reached, and codes for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bitfront.evaluators.quantized.kernels.attention_terms import (
    AttentionTerms,
    IntegerScores,
    integer_exponentials,
)
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid

# heads, head_dim, tokens of a window, windows, bias, mask
SHAPES = {
    "deit": (1, 64, 197, 1, False, False),
    "swin": (2, 32, 49, 4, True, True),
    "odd": (2, 30, 17, 3, True, False),
    "wide": (1, 258, 5, 2, False, True),
    "single": (1, 1, 1, 1, False, False),
    "many": (1, 33, 300, 1, False, False),
}
BITS = (2, 3, 4, 5, 8)
# Binary logarithms of bases of logarithmic codes; 1 has kernels of its own.
LOG_STEPS = (0.5, 0.73, 1.0, 1.6)


def terms_of(
    shape: str, bits: int, integer: bool, *, zero: int = 117, scale: float = 0.6, log_step: float = 1.0
) -> AttentionTerms:
    """Terms with scales at which scores, attention and outputs spread over their codes; heads differ."""
    heads, head_dim, n, windows, biased, masked = SHAPES[shape]
    generator = torch.Generator().manual_seed(n + bits)
    step, score_step = 0.03, 0.07
    factors = step * step * head_dim**-0.5 * 1.7 ** -torch.arange(heads, dtype=torch.float64)
    bias = torch.randn(heads, n, n, generator=generator)
    mask = torch.rand(windows, n, n, generator=generator) < 0.4
    mask[:, torch.arange(n), torch.arange(n)] = False
    table = torch.from_numpy(integer_exponentials(score_step, 256))
    attention_scale = 1.0 if bits <= 4 else scale / (2**bits - 1)
    return AttentionTerms(
        heads=heads,
        head_dim=head_dim,
        rows=torch.randperm(windows * n, generator=generator).view(windows, n).int(),
        bias=None if not biased else bias.double() / score_step if integer else bias,
        mask=mask if masked else None,
        qkv_zero=zero,
        factors=factors / score_step if integer else factors,
        softmax=IntegerScores(141, 255, table) if integer else None,
        attention_scale=attention_scale,
        attention_codes=2**bits,
        logarithmic=bits <= 4,
        out_factor=attention_scale * step / 0.02,
        out_zero=125,
        out_qmax=255,
        log_step=log_step,
    )


def minifloat_terms(shape: str, bits: int, integer: bool, step: float = 0.0037) -> AttentionTerms:
    """Terms whose attention is on floats of two significant bits, in whole steps."""
    grid, terms = MinifloatGrid.of(float(np.float32(step)), 0, bits), terms_of(shape, bits, integer)
    # The kernels' value of a code is the code over 2^7.
    scale = 128.0 * grid.scale
    return replace(terms, minifloats=grid, attention_scale=scale, out_factor=terms.out_factor * scale)


def codes_for(terms: AttentionTerms, batch: int, seed: int = 0, spread: float = 45.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = batch * terms.windows * terms.window_tokens
    values = torch.randn(rows, 3 * terms.heads * terms.head_dim, generator=generator) * spread
    return (values + terms.qkv_zero).round().clamp(0, 255).to(torch.uint8)
