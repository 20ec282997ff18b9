"""Encoders of timm's families as parts: which of them can be read, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.parts import (
    GELU,
    GELU_TANH,
    QUICK_GELU,
    RELU,
    SILU,
    EncoderParts,
    LinearParts,
    NormParts,
    RotaryParts,
    WindowParts,
)

# timm's blocks; in the second set norms are behind the branches.
_BLOCKS = {
    "timm.models.vision_transformer.Block",
    "timm.models.eva.EvaBlock",
    "timm.models.beit.Block",
    "timm.models.vision_transformer_relpos.RelPosBlock",
    "timm.models.swin_transformer.SwinTransformerBlock",
}
_POST_NORM = {
    "timm.models.vision_transformer.ResPostBlock",
    "timm.models.eva.EvaBlockPostNorm",
    "timm.models.vision_transformer_relpos.ResPostRelPosBlock",
    "timm.models.swin_transformer_v2.SwinTransformerV2Block",
}
_COSINE = "timm.models.swin_transformer_v2.WindowAttention"
_ATTENTIONS = {
    "timm.layers.attention.Attention",
    "timm.layers.attention.AttentionRope",
    "timm.models.eva.EvaAttention",
    "timm.models.beit.Attention",
    "timm.models.vision_transformer_relpos.RelPosAttention",
    "timm.models.swin_transformer.WindowAttention",
    _COSINE,
}
# Scores of cosine attention are at most this many times the cosine (Liu et al. 2022, section 3.2).
_LARGEST_LOGIT_SCALE = 100.0
# Of a query's squared norm, where F.normalize bounds the norm by 1e-12.
_LEAST_SQUARE = 1e-24


def kind_of(module: object) -> str:
    """A module's class by its whole name, such as ``timm.models.eva.EvaBlock``."""
    return f"{type(module).__module__}.{type(module).__name__}"


def norm_refusal(norm: Any) -> str | None:
    """Why a norm is not supported, or None where it is a LayerNorm or RMSNorm with weights."""
    if isinstance(norm, nn.LayerNorm) or type(norm).__name__ in ("RmsNorm", "RmsNormFp32"):
        return f"has {type(norm).__name__} without weights" if norm.weight is None else None
    return f"has {type(norm).__name__} where LayerNorm or RMSNorm is supported"


def encoder_refusal(block: Any) -> str | None:
    """Why a block is not supported, or None where it is.

    Looks at the structure alone, so that a module on the meta device can be asked.
    """
    if kind_of(block) not in _BLOCKS | _POST_NORM:
        return f"is a {type(block).__name__}, not one attention and then one MLP with a norm each"
    attn, mlp = block.attn, block.mlp
    if kind_of(attn) not in _ATTENTIONS:
        return f"has {type(attn).__name__} where plain multi-head attention is supported"
    if getattr(attn, "gate", None) is not None:
        return "gates its attention output"
    if getattr(attn, "num_kv_groups", 1) != 1:
        return "shares keys and values among heads (grouped-query attention)"
    inner = (getattr(attn, name, None) for name in ("q_norm", "k_norm", "norm"))
    norms = [norm for norm in (*inner, mlp_norm(mlp)) if present(norm)]
    if type(mlp).__name__ not in ("Mlp", "GluMlp", "SwiGLU"):
        return f"has {type(mlp).__name__} where an MLP of two layers, gated or not, is supported"
    if not all(isinstance(layer, nn.Linear) for layer in (*_first_layers(mlp), mlp.fc2)):
        return f"has {type(mlp).__name__} of other layers than linear ones"
    if activation_of(mlp.act) is None:
        return f"has activation {type(mlp.act).__name__} where {', '.join(_ACTIVATIONS)} are supported"
    return next((found for norm in (block.norm1, block.norm2, *norms) if (found := norm_refusal(norm))), None)


def present(module: object) -> bool:
    """Whether a place of a module that may be empty is not."""
    return module is not None and not isinstance(module, nn.Identity)


def mlp_norm(mlp: Any) -> Any:
    """The norm within an MLP, where it has a place for one."""
    return getattr(mlp, "norm", None)


_ACTIVATIONS: Mapping[str, Callable[[Any], bool]] = {
    GELU: lambda act: type(act).__name__ == "GELU" and getattr(act, "approximate", "none") == "none",
    GELU_TANH: lambda act: (
        type(act).__name__ == "GELUTanh" or (type(act) is nn.GELU and act.approximate == "tanh")
    ),
    QUICK_GELU: lambda act: type(act).__name__ == "QuickGELU",
    SILU: lambda act: isinstance(act, nn.SiLU),
    RELU: lambda act: isinstance(act, nn.ReLU),
}


def activation_of(act: object) -> str | None:
    """The name of an activation; None for one that is not supported."""
    return next((name for name, fits in _ACTIVATIONS.items() if fits(act)), None)


def encoder_parts(
    name: str, block: Any, tokens: int, window: WindowParts | None = None, rotary: RotaryParts | None = None
) -> EncoderParts:
    """The parts of a block that :func:`encoder_refusal` knows no reason against.

    A layer scale, where there is one, is folded into the layer before it.

    Args:
        name: The module's path.
        block: The block.
        tokens: Tokens of one image in it.
        window: What its attention is kept to or biased by.
        rotary: What turns its queries and keys.
    """
    attn, mlp = block.attn, block.mlp
    heads, qkv = int(attn.num_heads), _qkv_parts(attn)
    head_dim = len(qkv.weight) // (3 * heads)
    q_norm, k_norm, scales = _operands(attn, heads, head_dim, qkv.weight)
    inner = getattr(attn, "norm", None)
    activation = activation_of(mlp.act)
    assert activation is not None, "encoder_refusal has looked"
    return EncoderParts(
        name,
        norm_parts(block.norm1),
        qkv,
        linear_parts(attn.proj, _gamma(block, 1)),
        norm_parts(block.norm2),
        _first_parts(mlp),
        linear_parts(mlp.fc2, _gamma(block, 2)),
        heads,
        scales,
        tokens,
        window,
        activation=activation,
        gated=type(mlp).__name__ != "Mlp",
        hidden_norm=norm_parts(mlp_norm(mlp)) if present(mlp_norm(mlp)) else None,
        q_norm=q_norm,
        k_norm=k_norm,
        rotary=rotary,
        context_norm=norm_parts(inner) if present(inner) else None,
        post_norm=kind_of(block) in _POST_NORM,
        learned_scales=kind_of(attn) == _COSINE,
    )


def _operands(
    attn: Any, heads: int, head_dim: int, weight: torch.Tensor
) -> tuple[NormParts | None, NormParts | None, torch.Tensor]:
    """Norms of queries and keys, and the scales of their products by head, float64."""
    device = constants_device(weight)
    if kind_of(attn) == _COSINE:
        lengths = _unit_length(head_dim, device), _unit_length(head_dim, device)
        scale = attn.logit_scale.detach().flatten()
        if scale.is_meta:  # files bring them
            return *lengths, torch.ones(heads, dtype=torch.float64)
        return *lengths, scale.float().exp().clamp_max(_LARGEST_LOGIT_SCALE).double()
    q_norm, k_norm = (
        norm_parts(norm) if present(norm) else None
        for norm in (getattr(attn, "q_norm", None), getattr(attn, "k_norm", None))
    )
    return q_norm, k_norm, torch.full((heads,), head_dim**-0.5, dtype=torch.float64, device=device)


def _unit_length(channels: int, device: torch.device) -> NormParts:
    """What divides a vector by its length: RMSNorm with one weight for all channels."""
    even = torch.full((channels,), channels**-0.5, device=device)
    return NormParts(even, torch.zeros_like(even), _LEAST_SQUARE / channels, centred=False)


def _qkv_parts(attn: Any) -> LinearParts:
    """Queries, keys and values as one layer, whether they are one or three, and wherever their biases are."""
    if getattr(attn, "qkv", None) is None:
        return _side_by_side([linear_parts(layer) for layer in (attn.q_proj, attn.k_proj, attn.v_proj)])
    found = linear_parts(attn.qkv)
    if getattr(attn, "q_bias", None) is None:
        return found
    biases = [getattr(attn, name).detach().float() for name in ("q_bias", "k_bias", "v_bias")]
    return LinearParts(found.weight, torch.cat(biases))


def _first_layers(mlp: Any) -> tuple[Any, ...]:
    """The layers that make hidden channels of the stream, the gate first where it is one by itself."""
    return (mlp.fc1_g, mlp.fc1_x) if hasattr(mlp, "fc1_g") else (mlp.fc1,)


def _first_parts(mlp: Any) -> LinearParts:
    """``fc1``, the gate's half before the other one where the MLP is gated."""
    parts = [linear_parts(layer) for layer in _first_layers(mlp)]
    if getattr(mlp, "gate_last", False):
        (whole,) = parts
        halves = zip(whole.weight.chunk(2), whole.bias.chunk(2), strict=True)
        parts = [LinearParts(*half) for half in halves][::-1]
    return parts[0] if len(parts) == 1 else _side_by_side(parts)


def _side_by_side(parts: Sequence[LinearParts]) -> LinearParts:
    """Layers of one input as one layer, whose outputs are theirs in order."""
    return LinearParts(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))


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


def norm_parts(norm: Any) -> NormParts:
    """A norm, with zeros where it has no bias."""
    weight, bias = norm.weight.detach().float(), getattr(norm, "bias", None)
    shift = torch.zeros_like(weight) if bias is None else bias.detach().float()
    return NormParts(weight, shift, float(norm.eps), isinstance(norm, nn.LayerNorm))


def _gamma(block: Any, number: int) -> torch.Tensor | None:
    """The layer scale behind a branch: a module of its own, or a parameter of the block."""
    scale: Any = getattr(block, f"ls{number}", None)
    found = scale.gamma if present(scale) else getattr(block, f"gamma_{number}", None)
    return None if found is None else found.detach().float()
