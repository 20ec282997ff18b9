"""The pre-norm blocks that timm's families share: their parts, or the reason why they have others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.blueprint import EncoderParts, LayerNormParts, LinearParts, WindowParts


def block_refusal(block: Any) -> str | None:
    """Why the norms or the MLP of a block are not supported, or None where they are."""
    from timm.layers import Mlp

    mlp = block.mlp
    if type(mlp) is not Mlp or not isinstance(mlp.norm, nn.Identity) or not isinstance(mlp.fc1, nn.Linear):
        return f"has {type(mlp).__name__} where a plain two-layer MLP is supported"
    if not isinstance(mlp.act, nn.GELU) or mlp.act.approximate != "none":
        return f"has activation {type(mlp.act).__name__} where exact GELU is supported"
    return norm_refusal(block.norm1) or norm_refusal(block.norm2)


def norm_refusal(norm: Any) -> str | None:
    """Why a norm is not supported, or None where it is a LayerNorm with weights."""
    if isinstance(norm, nn.LayerNorm):
        return "has LayerNorm without weights" if norm.weight is None else None
    return f"has {type(norm).__name__} where LayerNorm is supported"


def encoder_parts(name: str, block: Any, tokens: int, window: WindowParts | None = None) -> EncoderParts:
    """The parts of a block; a layer scale, where there is one, is folded into the layer before it."""
    heads, qkv = int(block.attn.num_heads), linear_parts(block.attn.qkv)
    head_dim = len(qkv.weight) // (3 * heads)
    scales = torch.full((heads,), head_dim**-0.5, dtype=torch.float64, device=constants_device(qkv.weight))
    return EncoderParts(
        name,
        norm_parts(block.norm1),
        qkv,
        linear_parts(block.attn.proj, _gamma(block, "ls1")),
        norm_parts(block.norm2),
        linear_parts(block.mlp.fc1),
        linear_parts(block.mlp.fc2, _gamma(block, "ls2")),
        heads,
        scales,
        tokens,
        window,
    )


def constants_device(weight: torch.Tensor) -> torch.device:
    """Where numbers go that the architecture alone decides: beside the weights of a layer.

    Weights on the meta device have no values, but these numbers have: they are on the CPU then.
    """
    return torch.device("cpu") if weight.is_meta else weight.device


def linear_parts(layer: Any, gamma: torch.Tensor | None = None) -> LinearParts:
    """A linear layer, or a convolution over patches as one; ``gamma`` ``[out]`` scales its output."""
    weight = layer.weight.detach().float().flatten(1)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().float()
    return LinearParts(weight, bias) if gamma is None else LinearParts(weight * gamma[:, None], bias * gamma)


def norm_parts(norm: Any) -> LayerNormParts:
    """A LayerNorm, with zeros where it has no bias."""
    weight = norm.weight.detach().float()
    bias = torch.zeros_like(weight) if norm.bias is None else norm.bias.detach().float()
    return LayerNormParts(weight, bias, float(norm.eps))


def _gamma(block: Any, name: str) -> torch.Tensor | None:
    scale = getattr(block, name, None)
    return None if scale is None or isinstance(scale, nn.Identity) else scale.gamma.detach().float()
