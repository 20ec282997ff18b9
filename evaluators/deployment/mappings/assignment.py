"""The bits of every layer and of every attention matrix of a model, by module name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitfront.spaces import BitConfig, UserError, plain_width

if TYPE_CHECKING:
    from torch import nn

# Its output, queries, keys and values, takes the width of its input: operands of both attention products.
_QKV = "attn.qkv"
_TOOLCHAINS = "a mapping to a toolchain"
# The layers of an encoder that modules of other names are, or are parts of.
_PARTS = {
    **dict.fromkeys(("attn.q_proj", "attn.k_proj", "attn.v_proj"), _QKV),
    **dict.fromkeys(("mlp.fc1_g", "mlp.fc1_x"), "mlp.fc1"),
}
# Modules that make constants of the model's, such as position biases or a learned query: nothing runs them.
_CONSTANTS = ("cpb_mlp", "rel_pos", "shared_rel_pos")
_QUERY = "attn_pool.q"
# timm's module between softmax and the product with the values: its input is the attention matrix.
_ATTENTION = "attn.attn_drop"
_HEAD = "head"
_POOL = "attn_pool"


@dataclass(frozen=True)
class ModelLayer:
    """A linear layer or a convolution.

    Attributes:
        name: Module path, such as ``blocks.3.attn.qkv`` or ``patch_embed.proj``.
        outputs: Output channels: scales of its weights where each channel has one.
        convolution: Whether it is a convolution over the image, and not a linear layer.
        caller: The module that multiplies by its weight, where that is not its own: ``blocks.3.attn`` where
            biases of queries and values are parameters beside the layer.
        altered: Whether its outputs are normalised or turned before they are multiplied.
    """

    name: str
    outputs: int
    convolution: bool = False
    caller: str | None = None
    altered: bool = False


def model_layers(module: nn.Module) -> tuple[ModelLayer, ...]:
    """The layers of a model of a supported family, in the order of its modules; not those of constants.

    Names and shapes are all that is read: the module may be on the meta device.
    """
    from torch import nn

    layers: list[ModelLayer] = []
    turned = getattr(module, "rope", None) is not None
    for name, child in module.named_modules():
        if name == _QUERY or not set(_CONSTANTS).isdisjoint(name.split(".")):
            continue
        if isinstance(child, nn.Linear):
            above, _, local = name.rpartition(".")
            parent = module.get_submodule(above)
            operands = above.endswith(".attn") and local in ("qkv", "q_proj", "k_proj")
            layers.append(
                ModelLayer(
                    name,
                    child.out_features,
                    caller=above if operands and _multiplies_itself(parent) else None,
                    altered=operands and (turned or _normalises(parent)),
                )
            )
        elif isinstance(child, nn.Conv2d):
            layers.append(ModelLayer(name, child.out_channels, convolution=True))
    return tuple(layers)


def _multiplies_itself(attention: Any) -> bool:
    """Whether an attention takes its layer's weight, with biases of its own, and does not call the layer."""
    biases = getattr(attention, "q_bias", None) is not None and getattr(attention, "qkv", None) is not None
    return biases and not getattr(attention, "qkv_bias_separate", False)


def _normalises(attention: Any) -> bool:
    """Whether an attention normalises queries and keys."""
    from torch import nn

    norms = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
    found = any(norm is not None and not isinstance(norm, nn.Identity) for norm in norms)
    return found or hasattr(attention, "logit_scale")  # of cosines


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
        UserError: The configuration is of another model (an encoder of it has no layers here, or names
            others), or has a format that toolchains have no setting for.
    """
    assigned: list[LayerAssignment] = []
    seen: dict[int, set[str]] = {encoder.index: set() for encoder in config.encoders}
    for layer in layers:
        encoder = next((e for e in config.encoders if layer.name.startswith(f"{e.name}.")), None)
        if encoder is None:
            whole = layer.name.split(".")[0]
            reads = whole.startswith(_HEAD) or whole == _POOL
            bits = dict(config.pinned)[_HEAD if reads else "embedding"]
            assigned.append(LayerAssignment(layer, bits, bits))
            continue
        local = layer.name.removeprefix(f"{encoder.name}.")
        local = _PARTS.get(local, local)
        seen[encoder.index].add(local)
        inputs = plain_width(encoder.bits("activations", local), _TOOLCHAINS)
        outputs = inputs if local == _QKV else None
        weights = plain_width(encoder.bits("weights", local), _TOOLCHAINS)
        assigned.append(LayerAssignment(layer, weights, inputs, outputs))
    for encoder in config.encoders:
        found = seen[encoder.index]
        missing = sorted(encoder.named_layers() - found)
        if not found or missing:
            what = encoder.name if not found else f"{encoder.name}.{missing[0]}"
            raise UserError(
                f"bit config: {what} is no layer of this model; expected the modules of {config.model}: "
                "export for the model that the config was made for"
            )
    attention = tuple(
        (f"{encoder.name}.{_ATTENTION}", plain_width(encoder.attention, _TOOLCHAINS))
        for encoder in config.encoders
    )
    return Assignment(tuple(assigned), attention)
