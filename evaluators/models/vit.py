"""The ViT and DeiT family: timm's ``VisionTransformer`` as a blueprint, or why it cannot be one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.blueprint import (
    Blueprint,
    EncoderParts,
    LayerNormParts,
    LinearParts,
    Readout,
    WindowParts,
)


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


def vit_refusal(module: Any) -> str | None:
    """Why a ``VisionTransformer`` is no plain ViT, DeiT or distilled DeiT, or None where it is one.

    Looks at the structure alone, so that a module on the meta device can be asked. A missing classifier is
    no reason: a checkpoint may bring one.
    """
    if (reason := patch_embedding_refusal(module.patch_embed)) is not None:
        return reason
    if not isinstance(module.patch_embed.norm, nn.Identity):
        return "it normalises its patches before positions are added"
    if module.attn_pool is not None or module.global_pool not in ("token", "avg"):
        return f"it pools tokens by {module.global_pool!r}, and only class tokens and averages are supported"
    norms = [norm for norm in (module.norm, module.fc_norm) if not isinstance(norm, nn.Identity)]
    if len(norms) != 1:
        return "it does not have exactly one final LayerNorm"
    if not isinstance(module.norm_pre, nn.Identity):
        norms.append(module.norm_pre)
    for norm in norms:
        if (reason := norm_refusal(norm)) is not None:
            return f"it {reason}"
    if not isinstance(module.head, nn.Linear | nn.Identity):
        return f"its classifier is a {type(module.head).__name__}, not one linear layer"
    return _blocks_refusal(module)


def patch_embedding_refusal(embedding: Any) -> str | None:
    """Why patches are not embedded by one linear projection, or None where they are."""
    from timm.layers import PatchEmbed

    if type(embedding) is not PatchEmbed:
        return f"it embeds patches by a {type(embedding).__name__}, not by one linear projection"
    if any(side % patch for side, patch in zip(embedding.img_size, embedding.patch_size, strict=True)):
        image, patch = ("x".join(map(str, sides)) for sides in (embedding.img_size, embedding.patch_size))
        return f"its images of {image} pixels are no whole number of {patch} patches"
    return None


def _blocks_refusal(module: Any) -> str | None:
    from timm.layers import Attention
    from timm.models.vision_transformer import Block

    if len(module.blocks) == 0:
        return "it has no encoders"
    for index, block in enumerate(module.blocks):
        if type(block) is not Block:
            return f"its encoders are {type(block).__name__}, not pre-norm blocks"
        attn = block.attn
        if type(attn) is not Attention:
            reason = f"has {type(attn).__name__} where plain multi-head attention is supported"
        elif not isinstance(attn.q_norm, nn.Identity) or not isinstance(attn.k_norm, nn.Identity):
            reason = "normalises queries and keys"
        elif not isinstance(attn.norm, nn.Identity) or getattr(attn, "gate", None) is not None:
            reason = "normalises or gates its attention output"
        else:
            reason = block_refusal(block) or ""
        if reason:
            return f"encoder {index} {reason}"
    return None


def vit_blueprint(name: str, module: Any) -> Blueprint:
    """Takes a module apart for which :func:`vit_refusal` knows no reason."""
    projection = module.patch_embed.proj
    rows, columns = module.patch_embed.img_size
    patch = linear_parts(projection)
    prefix, positions = _tokens(module, patch.weight)
    return Blueprint(
        name,
        patch,
        (int(projection.kernel_size[0]), int(projection.kernel_size[1])),
        (int(projection.in_channels), int(rows), int(columns)),
        prefix,
        positions,
        None if isinstance(module.norm_pre, nn.Identity) else norm_parts(module.norm_pre),
        tuple(encoder_parts(f"blocks.{i}", block, len(positions)) for i, block in enumerate(module.blocks)),
        {},
        _readout(module),
    )


def _tokens(module: Any, patch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prefix tokens, and the positions of all tokens: zeros where a token has none."""
    tokens = (module.cls_token, getattr(module, "dist_token", None), module.reg_token)
    present = [token.detach()[0].float() for token in tokens if token is not None]
    prefix = torch.cat([patch.new_zeros(0, len(patch)), *present])
    total = len(prefix) + module.patch_embed.num_patches
    if module.pos_embed is not None and module.pos_embed.shape[1] == total:
        return prefix, module.pos_embed.detach()[0].float()
    positions = patch.new_zeros(total, len(patch))
    if module.pos_embed is not None:
        positions[len(prefix) :] = module.pos_embed.detach()[0]
    return prefix, positions


def _readout(module: Any) -> Readout:
    norm_first = not isinstance(module.norm, nn.Identity)
    norm = norm_parts(module.norm if norm_first else module.fc_norm)
    heads = [linear_parts(module.head)]
    if module.global_pool == "avg":
        first = 0 if module.pool_include_prefix else int(module.num_prefix_tokens)
        return Readout(norm, (), first, norm_first, tuple(heads))
    if hasattr(module, "head_dist"):
        heads.append(linear_parts(module.head_dist))
    return Readout(norm, tuple(range(len(heads))), None, norm_first, tuple(heads))
