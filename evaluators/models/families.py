"""The supported families of timm models: which of them a module is, and its blueprint."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.swin import swin_blueprint, swin_refusal
from bitfront.evaluators.models.vit import vit_blueprint, vit_refusal
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

# Largest deviation of the blueprint's logits from the module's, relative to their largest magnitude.
FORWARD_TOLERANCE = 1e-3
# timm's classes that are read; names of CLIP, SigLIP and DINOv2 are of the first, EVA-02 and DINOv3 of Eva.
WINDOWED = ("SwinTransformer", "SwinTransformerV2")
FAMILIES = ("VisionTransformer", *WINDOWED, "Beit", "Eva", "VisionTransformerRelPos")
EXPECTED = (
    "give a timm ViT, DeiT, BEiT, EVA or Swin, such as deit_tiny_patch16_224 or swin_tiny_patch4_window7_224"
)


def check_family(name: str, module: nn.Module) -> None:
    """Looks at a module's structure alone, which may be on the meta device.

    Raises:
        UserError: The model is of another family, or has a part that no scheme covers.
    """
    family = timm_family(module)
    if family is None:
        reason: str | None = f"it is a {type(module).__name__}, of none of the families {', '.join(FAMILIES)}"
    else:
        reason = swin_refusal(module) if family in WINDOWED else vit_refusal(module)
    if reason is not None:
        raise UserError(f"{name} cannot be quantized: {reason}; {EXPECTED}")


def blueprint_of(name: str, module: nn.Module) -> Blueprint:
    """Takes a module of one of :data:`FAMILIES` apart.

    The parts share memory with the module wherever nothing is folded into them. The blueprint's forward pass
    is compared with the module's own on random images, so that a model with an extra that its family does not
    know is refused and never quantized wrongly.

    Raises:
        UserError: The model is of another family, has no classifier, or has a part that no scheme covers.
    """
    blueprint = blueprint_outline(name, module)
    with torch.no_grad():
        _check_forward(blueprint, module)
    return blueprint


def blueprint_outline(name: str, module: nn.Module) -> Blueprint:
    """The blueprint of a module whose forward pass cannot be asked, because it is on the meta device.

    Shapes and what the architecture alone decides (windows, scales of scores) are as in the real one.

    Raises:
        UserError: The model is of another family, has no classifier, or has a part that no scheme covers.
    """
    check_family(name, module)
    plain: Any = module
    if plain.num_classes < 1:
        raise UserError(f"{name} cannot be quantized: it has no classifier; give a fine-tuned model")
    with torch.no_grad():
        return (swin_blueprint if timm_family(module) in WINDOWED else vit_blueprint)(name, module)


def timm_family(module: nn.Module) -> str | None:
    """Which of :data:`FAMILIES` a module belongs to; None for any other."""
    found = _timm_class(module)
    return None if found is None else found.__name__


def family_file(module: nn.Module) -> str:
    """The module of timm that defines the family of a supported model, such as ``timm.models.eva``."""
    found = _timm_class(module)
    assert found is not None, "check_family has looked"
    return found.__module__


def _timm_class(module: nn.Module) -> type[nn.Module] | None:
    ensure_torchvision()
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    classes: tuple[type[nn.Module], ...] = (
        VisionTransformer,
        SwinTransformer,
        SwinTransformerV2,
        Beit,
        Eva,
        VisionTransformerRelPos,
    )
    return next((found for found in classes if isinstance(module, found)), None)


def _check_forward(blueprint: Blueprint, module: nn.Module) -> None:
    drawn = torch.randn(2, *blueprint.image_shape, generator=torch.Generator().manual_seed(0))
    images = drawn.to(blueprint.patch.weight.device)
    # A GPU's convolutions would keep 10 bits of the patches otherwise.
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        expected = module.eval()(images)
    if not bool(expected.isfinite().all()):
        return  # nothing to compare; calibration names the site where the model overflows
    deviation = float((forward(blueprint, images) - expected).abs().max())
    if not deviation <= FORWARD_TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UserError(
            f"{blueprint.name} cannot be quantized: its forward pass is not that of a plain model "
            f"of its family (logits deviate by {deviation:.2g}); {EXPECTED}"
        )
