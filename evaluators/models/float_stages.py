"""What stands between an encoder's products, in floats: norms, activations, gates and rotary positions.

One way for the float model, for the quantized one where a scheme keeps it in float, and for learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F

from bitfront.evaluators.models.parts import (
    GELU,
    GELU_TANH,
    QUICK_GELU,
    RELU,
    SILU,
    EncoderParts,
    NormParts,
    PoolParts,
    RotaryParts,
)

# Of quick GELU (Hendrycks and Gimpel, arXiv 1606.08415, section 2), which OpenAI's CLIP has.
QUICK = 1.702


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """``x sigmoid(1.702 x)``."""
    return x * torch.sigmoid(QUICK * x)


ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    GELU: F.gelu,
    GELU_TANH: partial(F.gelu, approximate="tanh"),
    QUICK_GELU: quick_gelu,
    SILU: F.silu,
    RELU: F.relu,
}


def normed(x: torch.Tensor, parts: NormParts) -> torch.Tensor:
    """LayerNorm or RMSNorm over the last axis."""
    if parts.centred:
        return F.layer_norm(x, (x.shape[-1],), parts.weight, parts.bias, parts.eps)
    return F.rms_norm(x, (x.shape[-1],), parts.weight, parts.eps) + parts.bias


def rotated(x: torch.Tensor, rotary: RotaryParts) -> torch.Tensor:
    """Channels turned by their tokens' places, ``[..., tokens, heads, head_dim]``."""
    if rotary.halves:
        first, second = x.chunk(2, -1)
        partner = torch.cat([-second, first], -1)
    else:
        partner = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * rotary.cosines + partner * rotary.sines


def operands(encoder: EncoderParts, qkv: torch.Tensor) -> torch.Tensor:
    """What the attention's products take of ``qkv``'s output, ``[batch, tokens, 3 * heads * head_dim]``."""
    if not encoder.alters_operands:
        return qkv
    parts = qkv.view(*qkv.shape[:-1], 3, encoder.heads, encoder.head_dim)
    queries, keys, values = parts.unbind(-3)
    if encoder.q_norm is not None:
        queries = normed(queries, encoder.q_norm)
    if encoder.k_norm is not None:
        keys = normed(keys, encoder.k_norm)
    if encoder.rotary is not None:
        queries, keys = rotated(queries, encoder.rotary), rotated(keys, encoder.rotary)
    return torch.stack([queries, keys, values], -3).flatten(-3)


def hidden(encoder: EncoderParts, x: torch.Tensor) -> torch.Tensor:
    """What ``fc2`` takes, ``[..., hidden]``, of what ``fc1`` yields."""
    activation = ACTIVATIONS[encoder.activation]
    if encoder.gated:
        gate, x = x.chunk(2, -1)
        x = activation(gate) * x
    else:
        x = activation(x)
    if encoder.hidden_norm is not None:
        x = normed(x, encoder.hidden_norm)
    return x if encoder.hidden_scales is None else x * encoder.hidden_scales


def pooled_values(pool: PoolParts, kv: torch.Tensor) -> torch.Tensor:
    """Attention of the learned query, ``[batch, 1, heads * head_dim]``, over ``[batch, tokens, 2 * ...]``."""
    heads, width = pool.query.shape
    keys, values = kv.view(*kv.shape[:-1], 2, heads, width).unbind(-3)
    if pool.k_norm is not None:
        keys = normed(keys, pool.k_norm)
    scores = torch.einsum("hd,bthd->bht", pool.query, keys)
    return torch.einsum("bht,bthd->bhd", scores.softmax(-1), values).flatten(1)[:, None]
