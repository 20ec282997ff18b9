"""The ViT and DeiT family: a timm module as a blueprint, or the reason why it cannot be one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bitfront.evaluators.kernels.attention import HEAD_DIM_LIMIT
from bitfront.evaluators.models.blueprint import (
    Blueprint,
    EncoderParts,
    LayerNormParts,
    LinearParts,
    Readout,
    forward,
)
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

# Largest deviation of the blueprint's logits from the module's, relative to their largest magnitude.
FORWARD_TOLERANCE = 1e-3


def blueprint_of(name: str, module: nn.Module) -> Blueprint:
    """Takes a timm ``VisionTransformer`` (ViT, DeiT, distilled DeiT) apart.

    The blueprint's forward pass is compared with the module's own on random images, so that a model with
    an extra that this family does not know is refused and never quantized wrongly.

    Raises:
        UserError: The model is of another family, or has a part that scheme ``fq-vit`` does not cover.
    """
    reason = _refusal(module)
    if reason is not None:
        raise UserError(
            f"{name} cannot be quantized: {reason}; give a plain timm ViT or DeiT, "
            "such as deit_tiny_patch16_224"
        )
    with torch.no_grad():
        blueprint = _take_apart(name, module)
        _check_forward(blueprint, module)
    return blueprint


def _refusal(module: nn.Module) -> str | None:
    """Why a module is not a plain ViT, or None where it is one."""
    ensure_torchvision()
    from timm.layers import PatchEmbed
    from timm.models.vision_transformer import Block, VisionTransformer

    if not isinstance(module, VisionTransformer):
        return f"it is a {type(module).__name__}, not a timm VisionTransformer"
    if type(module.patch_embed) is not PatchEmbed:
        return f"it embeds patches by a {type(module.patch_embed).__name__}, not by one linear projection"
    if module.attn_pool is not None or module.global_pool not in ("token", "avg"):
        return f"it pools tokens by {module.global_pool!r}, and only class tokens and averages are supported"
    if not isinstance(module.norm_pre, nn.Identity) or not isinstance(module.patch_embed.norm, nn.Identity):
        return "it normalises its embeddings before the first encoder"
    if isinstance(module.norm, nn.Identity) == isinstance(module.fc_norm, nn.Identity):
        return "it does not have exactly one final LayerNorm"
    if not isinstance(module.head, nn.Linear):
        return "it has no linear classifier"
    if len(module.blocks) == 0:
        return "it has no encoders"
    for index, block in enumerate(module.blocks):
        if type(block) is not Block:
            return f"its encoders are {type(block).__name__}, not pre-norm blocks"
        reason = _block_refusal(block)
        if reason is not None:
            return f"encoder {index} {reason}"
    return None


def _block_refusal(block: Any) -> str | None:
    from timm.layers import Attention, Mlp

    attn, mlp = block.attn, block.mlp
    if type(attn) is not Attention:
        return f"has {type(attn).__name__} where plain multi-head attention is supported"
    if attn.head_dim > HEAD_DIM_LIMIT:
        return (
            f"has attention heads of {attn.head_dim} channels, "
            f"and at most {HEAD_DIM_LIMIT} are exact in float32 lanes"
        )
    if not isinstance(attn.q_norm, nn.Identity) or not isinstance(attn.k_norm, nn.Identity):
        return "normalises queries and keys"
    if not isinstance(attn.norm, nn.Identity) or getattr(attn, "gate", None) is not None:
        return "normalises or gates its attention output"
    if type(mlp) is not Mlp or not isinstance(mlp.norm, nn.Identity):
        return f"has {type(mlp).__name__} where a plain two-layer MLP is supported"
    if not isinstance(mlp.act, nn.GELU) or mlp.act.approximate != "none":
        return f"has activation {type(mlp.act).__name__} where exact GELU is supported"
    if not isinstance(block.norm1, nn.LayerNorm) or not isinstance(block.norm2, nn.LayerNorm):
        return f"has {type(block.norm1).__name__} where LayerNorm is supported"
    return None


def _linear(layer: Any, gamma: torch.Tensor | None = None) -> LinearParts:
    weight = layer.weight.detach().float().flatten(1).clone()
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().clone()
    if gamma is not None:
        weight, bias = weight * gamma[:, None], bias * gamma
    return LinearParts(weight, bias)


def _norm(layer: Any) -> LayerNormParts:
    width = layer.normalized_shape[-1]
    weight = torch.ones(width) if layer.weight is None else layer.weight.detach().float().clone()
    bias = torch.zeros(width) if layer.bias is None else layer.bias.detach().float().clone()
    return LayerNormParts(weight, bias, float(layer.eps))


def _gamma(scale: Any) -> torch.Tensor | None:
    return None if isinstance(scale, nn.Identity) else scale.gamma.detach().float()


def _encoder(name: str, block: Any) -> EncoderParts:
    return EncoderParts(
        name,
        _norm(block.norm1),
        _linear(block.attn.qkv),
        _linear(block.attn.proj, _gamma(block.ls1)),
        _norm(block.norm2),
        _linear(block.mlp.fc1),
        _linear(block.mlp.fc2, _gamma(block.ls2)),
        int(block.attn.num_heads),
    )


def _take_apart(name: str, module: Any) -> Blueprint:
    projection = module.patch_embed.proj
    rows, columns = module.patch_embed.img_size
    prefix = [
        token.detach()[0].float()
        for token in (module.cls_token, getattr(module, "dist_token", None), module.reg_token)
        if token is not None
    ]
    patch = _linear(projection)
    channels = patch.weight.shape[0]
    tokens = torch.cat(prefix) if prefix else torch.zeros(0, channels)
    total = len(tokens) + module.patch_embed.num_patches
    positions = torch.zeros(total, channels)
    if module.pos_embed is not None:
        embedded = module.pos_embed.detach()[0].float()
        positions[total - len(embedded) :] = embedded
    return Blueprint(
        name,
        patch,
        (int(projection.kernel_size[0]), int(projection.kernel_size[1])),
        (int(projection.in_channels), int(rows), int(columns)),
        tokens,
        positions,
        tuple(_encoder(f"blocks.{i}", block) for i, block in enumerate(module.blocks)),
        _readout(module),
    )


def _readout(module: Any) -> Readout:
    norm_first = not isinstance(module.norm, nn.Identity)
    norm = _norm(module.norm if norm_first else module.fc_norm)
    heads = [_linear(module.head)]
    if module.global_pool == "avg":
        first = 0 if module.pool_include_prefix else int(module.num_prefix_tokens)
        return Readout(norm, (), first, norm_first, tuple(heads))
    if hasattr(module, "head_dist"):
        heads.append(_linear(module.head_dist))
    return Readout(norm, tuple(range(len(heads))), None, norm_first, tuple(heads))


def _check_forward(blueprint: Blueprint, module: nn.Module) -> None:
    images = torch.randn(2, *blueprint.image_shape, generator=torch.Generator().manual_seed(0))
    expected = module.eval()(images)
    if not bool(expected.isfinite().all()):
        return  # nothing to compare; calibration names the site where the model overflows
    deviation = float((forward(blueprint, images) - expected).abs().max())
    if not deviation <= FORWARD_TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UserError(
            f"{blueprint.name} cannot be quantized: its forward pass differs from a plain ViT's "
            f"(logits deviate by {deviation:.2g}); give a plain timm ViT or DeiT"
        )
