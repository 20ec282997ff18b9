"""The layers with weights of a model, under the names that the model's own modules have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelLayer:
    """A linear layer or a convolution.

    Attributes:
        name: Module path, such as ``blocks.3.attn.qkv`` or ``patch_embed.proj``.
        outputs: Output channels: scales of its weights where each channel has one.
        convolution: Whether it is a convolution over the image, and not a linear layer.
    """

    name: str
    outputs: int
    convolution: bool = False


def model_layers(module: nn.Module) -> tuple[ModelLayer, ...]:
    """The layers of a model of a supported family, in the order of its modules.

    Names and shapes are all that is read: the module may be on the meta device.
    """
    from torch import nn

    layers: list[ModelLayer] = []
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear):
            layers.append(ModelLayer(name, child.out_features))
        elif isinstance(child, nn.Conv2d):
            layers.append(ModelLayer(name, child.out_channels, convolution=True))
    return tuple(layers)
