"""The attention of an encoder as its kernel takes it."""

from __future__ import annotations

import torch

from bitfront.evaluators.models.blueprint import EncoderParts
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.stages import (
    ScoreTerms,
)


def attention_terms(
    encoder: EncoderParts,
    scores: ScoreTerms,
    calibration: Calibration,
    bits: tuple[int, int, int],
    device: torch.device,
    log_step: float = 1.0,
) -> AttentionTerms:
    """The attention of an encoder.

    Args:
        encoder: The float encoder.
        scores: How the scheme makes scores of integer products.
        calibration: Grids of its sites.
        bits: Widths of the operands, of the attention matrix and of the attention output.
        device: Where the terms are.
        log_step: Binary logarithm of the base of logarithmic attention codes.
    """
    operands, attention, out = bits
    qkv = calibration.grid(f"{encoder.name}.attn.qkv", operands)
    codes = calibration.grid(f"{encoder.name}.attn.softmax", attention)
    context = calibration.grid(f"{encoder.name}.attn.context", out)
    logarithmic = attention <= LOG_BITS
    window = encoder.window
    everything = torch.arange(encoder.tokens, dtype=torch.int32)[None]
    return AttentionTerms(
        heads=encoder.heads,
        head_dim=encoder.head_dim,
        rows=(everything if window is None else window.rows).to(device),
        bias=None if scores.bias is None else scores.bias.to(device),
        mask=None if window is None or window.mask is None else window.mask.to(device),
        qkv_zero=qkv.zero_point,
        factors=scores.factors.to(device),
        softmax=scores.softmax,
        attention_scale=1.0 if logarithmic else codes.scale,
        attention_codes=1 << attention,
        logarithmic=logarithmic,
        out_factor=(1.0 if logarithmic else codes.scale) * qkv.scale / context.scale,
        out_zero=context.zero_point,
        out_qmax=context.qmax,
        log_step=log_step,
    )
