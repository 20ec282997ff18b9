"""The ViT and DeiT family: timm's ``VisionTransformer`` as a blueprint, or why it cannot be one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.blocks import (
    block_refusal,
    encoder_parts,
    linear_parts,
    norm_parts,
    norm_refusal,
)
from bitfront.evaluators.models.blueprint import Blueprint, Readout


def vit_refusal(module: Any) -> str | None:
    """Why a ``VisionTransformer`` is no plain ViT, DeiT or distilled DeiT, or None where it is one.

    Looks at the structure alone, so that a module on the meta device can be asked. A missing classifier is
    no reason: a checkpoint may bring one.
    """
    return _ends_refusal(module) or _blocks_refusal(module)


def _ends_refusal(module: Any) -> str | None:
    """Why the layers before and after the encoders are not supported."""
    reason = patch_embedding_refusal(module.patch_embed)
    if reason is not None:
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
    return None


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
        if type(block.attn) is not Attention:
            reason: str | None = (
                f"has {type(block.attn).__name__} where plain multi-head attention is supported"
            )
        else:
            reason = _attention_refusal(block.attn) or block_refusal(block)
        if reason is not None:
            return f"encoder {index} {reason}"
    return None


def _attention_refusal(attn: Any) -> str | None:
    if not isinstance(attn.q_norm, nn.Identity) or not isinstance(attn.k_norm, nn.Identity):
        return "normalises queries and keys"
    if not isinstance(attn.norm, nn.Identity) or getattr(attn, "gate", None) is not None:
        return "normalises or gates its attention output"
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
