"""The embedded default: a 12-encoder DeiT for 10 digit classes, with weights trained by this project."""

from __future__ import annotations

from functools import partial
from importlib import resources
from typing import Any

from torch import nn

from bitfront.evaluators.torchvision_shim import ensure_torchvision

NAME = "digits_deit"
CLASSES = 10
WEIGHTS = "weights/digits_deit.safetensors"

# So narrow that precision matters: at width 96 every assignment of 4 and 8 bits keeps the float model's top-1
# but for noise, and a search has nothing to find.
ARCHITECTURE: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 32,
    "depth": 12,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "qkv_bias": True,
}

PRETRAINED_CFG: dict[str, Any] = {
    "input_size": (1, 16, 16),
    "fixed_input_size": True,
    "mean": (0.306,),  # of the training scans
    "std": (0.319,),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "first_conv": "patch_embed.proj",
    "classifier": "head",
}


def build(*, classes: int = CLASSES) -> nn.Module:
    """A timm ``VisionTransformer`` with random weights: 64 patches, 107 thousand parameters."""
    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    module: nn.Module = VisionTransformer(
        **ARCHITECTURE,
        num_classes=classes,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    module.pretrained_cfg = {**PRETRAINED_CFG, "architecture": NAME, "num_classes": classes}  # type: ignore[assignment]
    return module


def load() -> nn.Module:
    """The model with its embedded weights, in float32 and evaluation mode."""
    from safetensors.torch import load as load_tensors

    embedded = resources.files("bitfront.evaluators.models").joinpath(WEIGHTS).read_bytes()
    module = build()
    module.load_state_dict({name: value.float() for name, value in load_tensors(embedded).items()})
    return module.eval()
