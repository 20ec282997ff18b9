"""Small models of every peculiarity that encoders and readouts may have, as published models have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from quantized_cases import Case, built_case, small

from bitfront.evaluators.torchvision_shim import ensure_torchvision

SMALL_OTHER = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 7}
SMALL_SWIN_V2 = {
    "img_size": 16,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "num_classes": 7,
}


def layers() -> Any:
    """timm's layers."""
    ensure_torchvision()
    import timm.layers

    return timm.layers


def vit(**options: Any) -> torch.nn.Module:
    """A small ``VisionTransformer`` of two encoders."""
    return small("vit", **{"depth": 2, **options})


def other(module: str, kind: str, **options: Any) -> torch.nn.Module:
    """A small model of another of timm's classes of one resolution."""
    ensure_torchvision()
    import timm

    build: Any = getattr(getattr(timm.models, module), kind)
    return build(**{**SMALL_OTHER, **options})


def eva(**options: Any) -> torch.nn.Module:
    """A small ``Eva``."""
    return other("eva", "Eva", **options)


def relative(**options: Any) -> torch.nn.Module:
    """A small ``VisionTransformerRelPos``."""
    return other("vision_transformer_relpos", "VisionTransformerRelPos", **options)


def swin_v2(**options: Any) -> torch.nn.Module:
    """A small ``SwinTransformerV2``."""
    ensure_torchvision()
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return SwinTransformerV2(**{**SMALL_SWIN_V2, **options})


def block_of(module: str, name: str) -> Any:
    """One of timm's blocks by its name."""
    ensure_torchvision()
    import timm

    return getattr(getattr(timm.models, module), name)


def rms(**options: Any) -> dict[str, Any]:
    """Options of models whose norms are RMSNorms."""
    return {"norm_layer": layers().RmsNorm, **options}


def narrow_heads() -> torch.nn.Module:
    """An ``Eva`` whose heads together are narrower than the stream, with a relative grid of another shape."""
    module: Any = eva(use_rot_pos_emb=True, num_heads=4, img_size=(24, 16), ref_feat_shape=(3, 5))
    for block in module.blocks:
        block.attn = layers().AttentionRope(32, 2, attn_head_dim=8)
    return module


def massive() -> torch.nn.Module:
    """A plain model with a hidden channel that outgrows all others, which equalization scales down."""
    module: Any = vit()
    with torch.no_grad():
        module.blocks[1].mlp.fc1.weight[5] *= 300.0
    return module


# By what they are like, with the peculiarities that they bring together.
PECULIAR: dict[str, Callable[[], torch.nn.Module]] = {
    "clip": lambda: vit(pre_norm=True, act_layer="quick_gelu"),
    "siglip": lambda: vit(  # of images that patches do not fill, as SigLIP so400m at 384 pixels
        global_pool="map", class_token=False, act_layer="gelu_tanh", img_size=(19, 18)
    ),
    "dinov2": lambda: vit(
        mlp_layer=layers().SwiGLUPacked, init_values=0.5, reg_tokens=2, no_embed_class=True
    ),
    "gate last": lambda: vit(
        mlp_layer=layers().GluMlp, qk_norm=True, global_pool="avg", pool_include_prefix=True
    ),
    "inner norms": lambda: vit(
        scale_attn_norm=True, scale_mlp_norm=True, act_layer=torch.nn.ReLU, img_size=(16, 24)
    ),
    "aimv2": lambda: vit(
        **rms(mlp_layer=layers().SwiGLU, embed_norm_layer=layers().RmsNorm, qkv_bias=False, proj_bias=False),
        global_pool="avg",
        class_token=False,
        fc_norm=False,
    ),
    "res-post-norm": lambda: vit(block_fn=block_of("vision_transformer", "ResPostBlock"), init_values=0.5),
    "eva02": lambda: eva(
        use_rot_pos_emb=True,
        ref_feat_shape=2,
        swiglu_mlp=True,
        scale_mlp=True,
        qkv_fused=False,
        mlp_ratio=8 / 3,
    ),
    "eva clip": lambda: eva(
        use_rot_pos_emb=True, scale_attn_inner=True, swiglu_mlp=True, global_pool="token", img_size=(24, 16)
    ),
    "eva post-norm": lambda: eva(use_post_norm=True, global_pool="token"),
    "dinov3": lambda: eva(
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        rope_rescale_coords=2.0,
        use_abs_pos_emb=False,
        num_reg_tokens=2,
        init_values=0.5,
        img_size=(16, 24),
        dynamic_img_size=True,
    ),
    "rope mixed": lambda: eva(
        use_rot_pos_emb=True,
        rope_type="mixed",
        rope_grid_indexing="xy",
        attn_type="rope",
        no_embed_class=True,
        num_reg_tokens=1,
        init_values=0.5,
        attn_only_layer_scale=True,
        img_size=(16, 24),
    ),
    "perception": lambda: eva(
        use_rot_pos_emb=True,
        rope_type="mrope",
        rope_mrope_section=(2, 3, 3),
        attn_type="rope",
        qk_norm=True,
        use_pre_transformer_norm=True,
        global_pool="map",
        attn_pool_num_heads=4,
        swiglu_mlp=True,
        swiglu_align_to=0,
    ),
    "narrow heads": narrow_heads,
    "massive": massive,
    "beit": lambda: other("beit", "Beit", use_rel_pos_bias=True, use_abs_pos_emb=False, init_values=0.5),
    "beit shared": lambda: other(
        "beit", "Beit", use_shared_rel_pos_bias=True, qkv_bias=False, global_pool="token", img_size=(16, 24)
    ),
    "beit3": lambda: other("beit", "Beit", swiglu_mlp=True, scale_mlp=True),
    "swin v2": swin_v2,
    "swin padded": lambda: small("swin", img_size=(44, 36)),  # windows of 4 in grids of 11 x 9 and 6 x 5
    "relative": lambda: relative(rel_pos_type="bias", class_token=True, qk_norm=True, img_size=(16, 24)),
    "relative mlp": lambda: relative(rel_pos_dim=16, class_token=True, global_pool="token", fc_norm=True),
    "relative shared": lambda: relative(
        shared_rel_pos=True,
        rel_pos_dim=16,
        block_fn=block_of("vision_transformer_relpos", "ResPostRelPosBlock"),
        init_values=None,
    ),
}
# Those whose peculiarities occur in others as well, one by one.
COMBINED = (
    "gate last",
    "eva clip",
    "eva post-norm",
    "perception",
    "beit3",
    "beit shared",
    "relative",
    "relative shared",
)
# For tests that need not see the combined ones each time.
QUICKLY = [pytest.param(name, marks=pytest.mark.thorough) if name in COMBINED else name for name in PECULIAR]
# Those that an integer-only scheme runs as well: position biases and pooling, nothing within encoders.
INTEGER = ("massive", "beit", "beit shared", "relative mlp")


def peculiar_case(name: str, images: int, seed: int = 0) -> Case:
    """One of :data:`PECULIAR` with weights and images of a seed."""
    return built_case(name, PECULIAR[name], images, seed)
