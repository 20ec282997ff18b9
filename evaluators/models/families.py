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
EXPECTED = (
    "give a plain timm ViT or DeiT, such as deit_tiny_patch16_224, "
    "or a Swin, such as swin_tiny_patch4_window7_224"
)


def check_family(name: str, module: nn.Module) -> None:
    """Looks at a module's structure alone, which may be on the meta device.

    Raises:
        UserError: The model is of another family, or has a part that no scheme covers.
    """
    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    if _is_swin(module):
        reason = swin_refusal(module)
    elif isinstance(module, VisionTransformer):
        reason = vit_refusal(module)
    else:
        reason = f"it is a {type(module).__name__}, neither a timm VisionTransformer nor a SwinTransformer"
    if reason is not None:
        raise UserError(f"{name} cannot be quantized: {reason}; {EXPECTED}")


def blueprint_of(name: str, module: nn.Module) -> Blueprint:
    """Takes a timm ``VisionTransformer`` (ViT, DeiT, distilled DeiT) or ``SwinTransformer`` apart.

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
        return swin_blueprint(name, module) if _is_swin(module) else vit_blueprint(name, module)


def _is_swin(module: nn.Module) -> bool:
    from timm.models.swin_transformer import SwinTransformer

    return isinstance(module, SwinTransformer)


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
