"""The bits of every layer and of every attention matrix of a model, by module name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitfront.spaces import BitConfig, UserError

if TYPE_CHECKING:
    from torch import nn

# Its output, queries, keys and values, takes the width of its input: operands of both attention products.
_QKV = "attn.qkv"
# timm's module between softmax and the product with the values: its input is the attention matrix.
_ATTENTION = "attn.attn_drop"
_HEAD = "head"


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


@dataclass(frozen=True)
class LayerAssignment:
    """The widths around one layer.

    Attributes:
        layer: The layer.
        weights: Bits of its weights.
        inputs: Bits of its input.
        outputs: Bits of its output; None where it stays float.
    """

    layer: ModelLayer
    weights: int
    inputs: int
    outputs: int | None = None


@dataclass(frozen=True)
class Assignment:
    """What a bit config says of the modules of a model.

    Attributes:
        layers: Every layer with weights, in the order of the modules.
        attention: Bits of each encoder's attention matrix by the module whose input it is.
    """

    layers: tuple[LayerAssignment, ...]
    attention: tuple[tuple[str, int], ...]


def assign(config: BitConfig, layers: Sequence[ModelLayer]) -> Assignment:
    """Gives every layer its bits; those outside the encoders take the pinned ones.

    Raises:
        UserError: The configuration is of another model: an encoder of it has no layers here, or names
            others.
    """
    assigned: list[LayerAssignment] = []
    seen: dict[int, set[str]] = {encoder.index: set() for encoder in config.encoders}
    for layer in layers:
        encoder = next((e for e in config.encoders if layer.name.startswith(f"{e.name}.")), None)
        if encoder is None:
            bits = dict(config.pinned)[_HEAD if layer.name.split(".")[0].startswith(_HEAD) else "embedding"]
            assigned.append(LayerAssignment(layer, bits, bits))
            continue
        local = layer.name.removeprefix(f"{encoder.name}.")
        seen[encoder.index].add(local)
        inputs = encoder.bits("activations", local)
        outputs = inputs if local == _QKV else None
        assigned.append(LayerAssignment(layer, encoder.bits("weights", local), inputs, outputs))
    for encoder in config.encoders:
        found = seen[encoder.index]
        missing = sorted(encoder.named_layers() - found)
        if not found or missing:
            what = encoder.name if not found else f"{encoder.name}.{missing[0]}"
            raise UserError(
                f"bit config: {what} is no layer of this model; expected the modules of {config.model}: "
                "export for the model that the config was made for"
            )
    attention = tuple((f"{encoder.name}.{_ATTENTION}", encoder.attention) for encoder in config.encoders)
    return Assignment(tuple(assigned), attention)
