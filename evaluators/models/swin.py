"""The Swin families: timm's ``SwinTransformer`` and ``SwinTransformerV2`` as blueprints, or why not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.encoder_reading import (
    constants_device,
    encoder_parts,
    encoder_refusal,
    kind_of,
    linear_parts,
    norm_parts,
    norm_refusal,
)
from bitfront.evaluators.models.float_stages import operands
from bitfront.evaluators.models.parts import EncoderParts, MergeParts, Readout, WindowParts
from bitfront.evaluators.models.vit import patch_embedding_refusal

_SECOND = "timm.models.swin_transformer_v2."
_MERGINGS = {"timm.models.swin_transformer.PatchMerging", f"{_SECOND}PatchMerging"}
# Of position biases in the second version (Liu et al. 2022, section 3.3, and their code).
_LARGEST_BIAS = 16.0


def swin_refusal(module: Any) -> str | None:
    """Why a ``SwinTransformer`` of either version is not supported, or None where it is.

    Looks at the structure alone, so that a module on the meta device can be asked. A missing classifier is
    no reason: a checkpoint may bring one.
    """
    from timm.layers import ClassifierHead

    head = module.head
    if (reason := patch_embedding_refusal(module.patch_embed)) is not None:
        return reason
    if type(head) is not ClassifierHead or not isinstance(head.fc, nn.Linear | nn.Identity):
        return f"its classifier is a {type(head).__name__}, not an average and one linear layer"
    if head.global_pool.pool_type != "avg":
        return f"it pools tokens by {head.global_pool.pool_type!r}, and only averages are supported"
    if not isinstance(module.patch_embed.norm, nn.Identity):
        reason = norm_refusal(module.patch_embed.norm)
    reason = reason or norm_refusal(module.norm)
    if reason is not None:
        return f"it {reason}"
    for index, stage in enumerate(module.layers):
        if (reason := _stage_refusal(stage)) is not None:
            return f"stage {index} {reason}"
    return None


def _stage_refusal(stage: Any) -> str | None:
    if len(stage.blocks) == 0:
        return "has no encoders"
    merging = stage.downsample
    if not isinstance(merging, nn.Identity):
        if kind_of(merging) not in _MERGINGS:
            return f"merges patches by a {type(merging).__name__}"
        if (reason := norm_refusal(merging.norm)) is not None:
            return reason
    for index, block in enumerate(stage.blocks):
        if (reason := encoder_refusal(block)) is not None:
            return f"encoder {index} {reason}"
    return None


def swin_blueprint(name: str, module: Any) -> Blueprint:
    """Takes a module apart for which :func:`swin_refusal` knows no reason."""
    projection, embed_norm = module.patch_embed.proj, module.patch_embed.norm
    rows, columns = module.patch_embed.img_size
    patch = linear_parts(projection)
    encoders: list[EncoderParts] = []
    merges: dict[int, MergeParts] = {}
    for index, stage in enumerate(module.layers):
        if not isinstance(stage.downsample, nn.Identity):
            merges[len(encoders)] = _merge(f"layers.{index}.downsample", stage)
        for number, block in enumerate(stage.blocks):
            path, tokens = f"layers.{index}.blocks.{number}", math.prod(block.input_resolution)
            encoders.append(_padded(encoder_parts(path, block, tokens, _window(block))))
    return Blueprint(
        name,
        patch,
        (int(projection.kernel_size[0]), int(projection.kernel_size[1])),
        (int(projection.in_channels), int(rows), int(columns)),
        patch.weight.new_zeros(0, len(patch.weight)),
        None,
        None if isinstance(embed_norm, nn.Identity) else norm_parts(embed_norm),
        tuple(encoders),
        merges,
        Readout(norm_parts(module.norm), (), 0, True, (linear_parts(module.head.fc),)),
    )


def _merge(name: str, stage: Any) -> MergeParts:
    (height, width), merging = stage.input_resolution, stage.downsample
    grid = _grid(height, width, constants_device(merging.reduction.weight))
    padded = _filled(grid, (2, 2))
    # timm puts the two rows of the left column before those of the right one
    rows = padded.reshape(len(padded) // 2, 2, -1, 2).permute(0, 2, 3, 1).reshape(-1, 4)
    second = kind_of(merging).startswith(_SECOND)
    norm, reduction = norm_parts(merging.norm), linear_parts(merging.reduction)
    return MergeParts(name, rows, norm, reduction, second, padded.shape != grid.shape)


def _filled(grid: torch.Tensor, unit: tuple[int, int]) -> torch.Tensor:
    """A grid of tokens with places at its lower and right edge, one past the last token, to whole units."""
    down, across = (-side % part for side, part in zip(grid.shape, unit, strict=True))
    return F.pad(grid, (0, across, 0, down), value=grid.numel())


def _padded(encoder: EncoderParts) -> EncoderParts:
    """The encoder with what stands where its windows have no tokens: zeros enter the layer there."""
    window = encoder.window
    if window is None or window.rows.numel() == encoder.tokens:
        return encoder
    padding = operands(encoder, encoder.qkv.bias[None, None])[0, 0]
    return dataclasses.replace(encoder, window=dataclasses.replace(window, padding=padding))


def _window(block: Any) -> WindowParts:
    from timm.models.swin_transformer import get_relative_position_index, window_partition

    height, width = block.input_resolution
    attn = block.attn
    grid = _grid(height, width, constants_device(attn.qkv.weight))
    shifted = _filled(grid.roll((-block.shift_size[0], -block.shift_size[1]), dims=(0, 1)), block.window_size)
    rows = window_partition(shifted[None, ..., None], block.window_size).reshape(-1, block.window_area)
    added = block.get_attn_mask(device=grid.device, dtype=torch.float32)
    return WindowParts(
        rows,
        _bias(attn),
        None if added is None or not bool(added.any()) else added != 0,
        get_relative_position_index(*attn.window_size).to(grid.device),
    )


def _bias(attn: Any) -> torch.Tensor:
    """Biases by relative position, float32 ``[heads, window_tokens, window_tokens]``."""
    if not kind_of(attn).startswith(_SECOND):
        return attn._get_rel_pos_bias()[0].detach().float()  # type: ignore[no-any-return]
    tokens = math.prod(attn.window_size)
    table = attn.cpb_mlp(attn.relative_coords_table).detach().float().view(-1, attn.num_heads)
    biases = _LARGEST_BIAS * torch.sigmoid(table)[attn.relative_position_index.flatten()]
    return biases.view(tokens, tokens, -1).permute(2, 0, 1).contiguous()


def _grid(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Indices of the tokens of a grid, int32 ``[height, width]``."""
    return torch.arange(height * width, dtype=torch.int32, device=device).reshape(height, width)
