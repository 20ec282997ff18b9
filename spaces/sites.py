"""Quantization sites: the tensors of a model that are held as integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["weights", "activations", "attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class QuantSite:
    """One quantized tensor of a model.

    Attributes:
        name: Unique name, such as ``blocks.3.attn.qkv.weight`` or ``blocks.3.attn.softmax``.
        kind: Which kind of bits it takes.
        encoder: Index of its encoder, or None outside the encoders.
        layer: The layer whose gene it follows (``attn.qkv``), ``attn`` for an attention matrix, or the
            name of the pinned group (``embedding``, ``residual``, ``scores``, ``head``).
        pinned: True where the width is fixed and not searched.
        elements: Elements of the tensor; for one image where it depends on the input.
        channels: Number of scales: output channels of a weight, channels of a power-of-two grid; 0 where one
            scale serves the whole tensor.
        macs: Multiply-accumulates per image of the products whose operand it is; 0 where it is in none.
    """

    name: str
    kind: Kind
    encoder: int | None
    layer: str
    pinned: bool
    elements: int
    channels: int = 0
    macs: int = 0


@dataclass(frozen=True)
class EncoderLayers:
    """The layers of one encoder that carry genes, in execution order.

    Attributes:
        index: Position of the encoder, from 0.
        name: Module path of the encoder, such as ``blocks.3``.
        linear: Names of its linear layers, such as ``("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")``.
    """

    index: int
    name: str
    linear: tuple[str, ...]


def encoder_layers(sites: Sequence[QuantSite], names: Sequence[str]) -> tuple[EncoderLayers, ...]:
    """Groups searchable weight sites by encoder; ``names`` are the encoders' module paths in order."""
    layers: list[list[str]] = [[] for _ in names]
    for site in sites:
        if site.kind == "weights" and site.encoder is not None and not site.pinned:
            layers[site.encoder].append(site.layer)
    return tuple(EncoderLayers(i, name, tuple(layers[i])) for i, name in enumerate(names))
