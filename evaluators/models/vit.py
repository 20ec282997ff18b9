"""Models of one resolution as blueprints: timm's ViT, DeiT, BEiT, EVA and relative-position families.

CLIP, SigLIP and DINOv2 are names of the first, DINOv3 and EVA-02 of EVA's.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.encoder_reading import (
    activation_of,
    constants_device,
    encoder_parts,
    encoder_refusal,
    linear_parts,
    norm_parts,
    norm_refusal,
    present,
)
from bitfront.evaluators.models.parts import NormParts, PoolParts, Readout, RotaryParts, WindowParts

MIXED = "RotaryEmbeddingMixed"


def vit_refusal(module: Any) -> str | None:
    """Why a model of one resolution is not supported, or None where it is.

    Looks at the structure alone, so that a module on the meta device can be asked. A missing classifier is
    no reason: a checkpoint may bring one.
    """
    if (reason := patch_embedding_refusal(module.patch_embed)) is not None:
        return reason
    if module.global_pool not in ("token", "avg", "map"):
        return (
            f"it pools tokens by {module.global_pool!r}, and class tokens, averages and attention pooling "
            "are supported"
        )
    if (reason := _pool_refusal(module)) is not None:
        return reason
    around = [module.norm, module.fc_norm, getattr(module, "norm_pre", None), module.patch_embed.norm]
    if sum(map(present, around[:2])) != 1:
        return "it does not have exactly one final norm"
    for norm in filter(present, around):
        if (reason := norm_refusal(norm)) is not None:
            return f"it {reason}"
    if not isinstance(module.head, nn.Linear | nn.Identity):
        return f"its classifier is a {type(module.head).__name__}, not one linear layer"
    if len(module.blocks) == 0:
        return "it has no encoders"
    for index, block in enumerate(module.blocks):
        if (reason := encoder_refusal(block)) is not None:
            return f"encoder {index} {reason}"
    return None


def patch_embedding_refusal(embedding: Any) -> str | None:
    """Why patches are not embedded by one linear projection, or None where they are."""
    from timm.layers import PatchEmbed

    if type(embedding) is not PatchEmbed:
        return f"it embeds patches by a {type(embedding).__name__}, not by one linear projection"
    sides = list(zip(embedding.img_size, embedding.patch_size, strict=True))
    image, patch = ("x".join(map(str, found)) for found in zip(*sides, strict=True))
    if any(side < part for side, part in sides):
        return f"its images of {image} pixels are smaller than a patch of {patch}"
    if getattr(embedding, "dynamic_img_pad", False) and any(side % part for side, part in sides):
        return f"it pads images of {image} pixels to whole patches of {patch}"
    return None


def _pool_refusal(module: Any) -> str | None:
    """Why a model's attention pooling is not supported, or None where it is or there is none."""
    pool = getattr(module, "attn_pool", None)
    if (pool is not None) != (module.global_pool == "map"):
        return f"it pools tokens by {module.global_pool!r} and {'has' if pool else 'lacks'} attention pooling"
    if pool is None:
        return None
    if type(pool).__name__ != "AttentionPoolLatent" or pool.latent_len != 1 or pool.pos_embed is not None:
        return f"it pools tokens by a {type(pool).__name__} with more than one query of its own"
    if pool.mlp is None or present(pool.mlp.norm) or activation_of(pool.mlp.act) is None:
        return "its attention pooling has no plain MLP"
    if not present(module.norm):
        return "it pools tokens that are not normalised"
    norms = filter(present, (pool.q_norm, pool.k_norm, pool.norm))
    reason = next((found for norm in norms if (found := norm_refusal(norm))), None)
    return reason and f"its attention pooling {reason}"


def vit_blueprint(name: str, module: Any) -> Blueprint:
    """Takes a module apart for which :func:`vit_refusal` knows no reason."""
    projection, norms = module.patch_embed.proj, module.patch_embed.norm
    rows, columns = module.patch_embed.img_size
    patch = linear_parts(projection)
    prefix, positions = _tokens(module, patch.weight)
    rotaries = _rotaries(module, len(prefix))
    encoders = tuple(
        encoder_parts(
            f"blocks.{index}", block, len(positions), _biased(module, block, len(positions)), rotary
        )
        for index, (block, rotary) in enumerate(zip(module.blocks, rotaries, strict=True))
    )
    return Blueprint(
        name,
        patch,
        (int(projection.kernel_size[0]), int(projection.kernel_size[1])),
        (int(projection.in_channels), int(rows), int(columns)),
        prefix,
        positions,
        _optional_norm(getattr(module, "norm_pre", None)),
        encoders,
        {},
        _readout(module, len(prefix)),
        patch_norm=_optional_norm(norms),
    )


def _optional_norm(norm: Any) -> NormParts | None:
    return norm_parts(norm) if present(norm) else None


def _tokens(module: Any, patch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prefix tokens, and the positions of all tokens: zeros where a token has none."""
    tokens = (getattr(module, kind, None) for kind in ("cls_token", "dist_token", "reg_token"))
    found = [token.detach()[0].float() for token in tokens if token is not None]
    prefix = torch.cat([patch.new_zeros(0, len(patch)), *found])
    total, learned = len(prefix) + module.patch_embed.num_patches, getattr(module, "pos_embed", None)
    if learned is not None and learned.shape[1] == total:
        return prefix, learned.detach()[0].float()
    positions = patch.new_zeros(total, len(patch))
    if learned is not None:
        positions[len(prefix) :] = learned.detach()[0]
    return prefix, positions


def _readout(module: Any, prefix: int) -> Readout:
    norm_first = present(module.norm)
    norm = norm_parts(module.norm if norm_first else module.fc_norm)
    heads = [linear_parts(module.head)]
    # BEiT averages patches alone; others may be asked to average their prefix as well.
    first = 0 if getattr(module, "pool_include_prefix", False) else prefix
    if module.global_pool == "map":
        # EVA's own models pool all tokens, as their attention pooling knows of no prefix.
        whole = not hasattr(module, "pool_include_prefix")
        return Readout(norm, (), None, True, tuple(heads), _pool(module.attn_pool, 0 if whole else first))
    if module.global_pool == "avg":
        return Readout(norm, (), first, norm_first, tuple(heads))
    if hasattr(module, "head_dist"):
        heads.append(linear_parts(module.head_dist))
    return Readout(norm, tuple(range(len(heads))), None, norm_first, tuple(heads))


def _pool(pool: Any, first: int) -> PoolParts:
    query = pool.q(pool.latent.detach().float())[0, 0].view(pool.num_heads, pool.head_dim)
    activation = activation_of(pool.mlp.act)
    assert activation is not None, "_pool_refusal has looked"
    return PoolParts(
        linear_parts(pool.kv),
        pool.q_norm(query).detach() * pool.scale,
        _optional_norm(pool.k_norm),
        linear_parts(pool.proj),
        _optional_norm(pool.norm),
        linear_parts(pool.mlp.fc1),
        linear_parts(pool.mlp.fc2),
        activation,
        first,
    )


def _biased(module: Any, block: Any, tokens: int) -> WindowParts | None:
    """Attention over all tokens with biases by relative position, where the block or the model has them."""
    attn, grid = block.attn, module.patch_embed.grid_size
    biases = []
    if getattr(attn, "relative_position_bias_table", None) is not None:
        biases.append(attn._get_rel_pos_bias())
    own = getattr(attn, "rel_pos", None)
    shared = getattr(module, "rel_pos_bias", None) or getattr(module, "shared_rel_pos", None)
    if own is not None:
        biases.append(own.get_bias())
    elif shared is not None:
        biases.append(shared.get_bias() if hasattr(shared, "get_bias") else shared())
    if not biases:
        return None
    device = constants_device(attn.qkv.weight)
    source = own if own is not None else shared if shared is not None else attn
    return WindowParts(
        torch.arange(tokens, dtype=torch.int32, device=device)[None],
        sum(biases[1:], start=biases[0]).detach().float().reshape(-1, tokens, tokens),
        None,
        _relative_positions(grid, tokens, type(source).__name__ == "RelPosMlp").to(device),
    )


def _relative_positions(grid: tuple[int, int], tokens: int, apart: bool) -> torch.Tensor:
    """Relative position of each query and key, int64 ``[tokens, tokens]``.

    Pairs with a class token have positions of their own, three kinds of them, or, ``apart``, one for all.
    """
    from timm.layers.pos_embed_rel import gen_relative_position_index

    patches = grid[0] * grid[1]
    if apart or tokens == patches:
        found = gen_relative_position_index(grid).view(patches, patches)
        return F.pad(found, (tokens - patches, 0) * 2, value=int(found.max()) + 1)
    whole: torch.Tensor = gen_relative_position_index(grid, class_token=True).view(tokens, tokens)
    return whole


def _rotaries(module: Any, prefix: int) -> list[RotaryParts | None]:
    """What turns the queries and keys of each block."""
    blocks = len(module.blocks)
    rope = getattr(module, "rope", None)
    if rope is None:
        return [None] * blocks
    halves = bool(getattr(module.blocks[0].attn, "rotate_half", False))
    device = constants_device(module.patch_embed.proj.weight)
    grid = [int(side) for side in module.patch_embed.grid_size]
    if type(rope).__name__ == MIXED:
        from timm.layers.pos_embed_sincos import get_mixed_grid

        axes = torch.stack(get_mixed_grid(grid, grid_indexing=rope.grid_indexing, device=device), -1)
        places = F.pad(axes, (0, 0, prefix, 0))
        frequencies = rope.freqs.detach().float()
        return [RotaryParts.learned(places, frequencies[:, index], halves=halves) for index in range(blocks)]
    rope = copy.deepcopy(rope).eval()  # in training some draw other places each time
    if any(buffer.is_meta for buffer in rope.buffers()):  # without values, which the architecture decides
        rope = rope.to_empty(device="cpu")
        rope.init_non_persistent_buffers()
    fixed = getattr(rope, "feat_shape", None) is not None
    sines, cosines = (rope.get_embed() if fixed else rope.get_embed(shape=grid)).float().chunk(2, -1)
    angles = torch.atan2(sines, cosines)
    pairs = angles[:, : angles.shape[1] // 2] if halves else angles[:, ::2]
    one = RotaryParts(F.pad(pairs, (0, 0, prefix, 0))[:, None].to(device), halves)
    return [one] * blocks
