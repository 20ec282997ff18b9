"""Checkpoints of Hugging Face transformers: the same ViTs, DeiTs and Swins under other tensor names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from bitfront.spaces import UserError

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_ROOT = re.compile(r"^(vit|deit|swin)\.")
# In a block; the same for ViTs, DeiTs and Swins.
_IN_BLOCK = {
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.norm": "patch_embed.norm",
    "layernorm": "norm",
}
_BLOCK = re.compile(r"^encoder\.(?:layer\.(\d+)|layers\.(\d+)\.blocks\.(\d+))\.(.+)$")
_MERGE = re.compile(r"^encoder\.layers\.(\d+)\.downsample\.(.+)$")
_PROJECTION = re.compile(r"^attention\.(?:attention|self)\.(query|key|value)\.(weight|bias)$")
_TABLE = "attention.self.relative_position_bias_table"
_INDEX = "attention.self.relative_position_index"
_LEFT_OUT = ("pooler.", "embeddings.mask_token")

# Hub names of transformers, and what timm calls the architecture.
SAME_MODELS = {
    **{
        f"google/vit-{size}-patch{patch}-{side}": f"vit_{size}_patch{patch}_{side}"
        for size, patch, side in (
            ("base", 16, 224), ("base", 16, 384), ("base", 32, 384), ("large", 16, 224), ("large", 16, 384),
            ("large", 32, 384),
        )
    },
    **{
        f"facebook/deit-{size}-{kind}patch16-{side}": f"deit_{size}_{kind.replace('-', '_')}patch16_{side}"
        for size, side in (("tiny", 224), ("small", 224), ("base", 224), ("base", 384))
        for kind in ("", "distilled-")
    },
    **{
        f"microsoft/swin-{size}-patch4-window{window}-{side}": f"swin_{size}_patch4_window{window}_{side}"
        for size, window, side in (
            ("tiny", 7, 224), ("small", 7, 224), ("base", 7, 224), ("base", 12, 384), ("large", 7, 224),
            ("large", 12, 384),
        )
    },
}  # fmt: skip


def of_transformers(state: Mapping[str, object]) -> bool:
    """Whether the tensors of a checkpoint have the names that transformers gives them."""
    return any(_ROOT.sub("", name) == _PATCHES for name in state)


def from_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of transformers' ViT, DeiT or Swin under timm's names, with queries, keys, values joined.

    Raises:
        UserError: It is of another kind of model, lacks a projection, or has a part that timm's lack.
    """
    plain = {_ROOT.sub("", name): value for name, value in state.items()}
    windowed = any(name.startswith("encoder.layers.") for name in plain)
    found: dict[str, torch.Tensor] = {}
    joined: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in plain.items():
        if name.startswith(_LEFT_OUT):
            continue
        block = _BLOCK.match(name)
        projection = block and _PROJECTION.match(block[4])
        if block and projection:
            parts = joined.setdefault(f"{_block(block)}.attn.qkv.{projection[2]}", {})
            parts[projection[1]] = value
        else:
            found[_renamed(name, block, windowed, "distillation_classifier.weight" in plain)] = value
    for name, parts in joined.items():
        if set(parts) != {"query", "key", "value"}:
            raise UserError(f"{name} cannot be joined: the file has its {', '.join(parts)} alone")
        found[name] = torch.cat([parts["query"], parts["key"], parts["value"]])
    return found


def _block(found: re.Match[str]) -> str:
    return f"blocks.{found[1]}" if found[1] is not None else f"layers.{found[2]}.blocks.{found[3]}"


def _renamed(name: str, block: re.Match[str] | None, windowed: bool, distilled: bool) -> str:
    if block is not None:
        rest = block[4]
        if rest in (_TABLE, _INDEX):
            return f"{_block(block)}.attn.{rest.rpartition('.')[2]}"
        stem, _, kind = rest.rpartition(".")
        if stem in _IN_BLOCK:
            return f"{_block(block)}.{_IN_BLOCK[stem]}.{kind}"
    elif (merge := _MERGE.match(name)) is not None:
        return f"layers.{int(merge[1]) + 1}.downsample.{merge[2]}"
    elif name in _OUTSIDE:
        return _OUTSIDE[name]
    else:
        stem, _, kind = name.rpartition(".")
        if stem in _OUTSIDE:
            return f"{_OUTSIDE[stem]}.{kind}"
        heads = {"cls_classifier": "head", "distillation_classifier": "head_dist"}
        heads |= {} if distilled else {"classifier": "head.fc" if windowed else "head"}
        if stem in heads:
            return f"{heads[stem]}.{kind}"
    raise UserError(f"{name} of transformers has no counterpart in timm's ViTs, DeiTs and Swins")
