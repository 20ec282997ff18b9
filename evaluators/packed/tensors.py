"""Tensors as a safetensors file describes them, and those of a model that files hold as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.spaces import QuantSite

# A safetensors file: 8 bytes of header length, the JSON header padded to 8 bytes, then the tensors.
LENGTH_BYTES = 8
# Bytes of a value, in the order in which the writer puts types of equal size.
_TYPES = {"U8": 1, "I8": 1, "F16": 2, "BF16": 2, "F32": 4}
_RANKS = list(_TYPES)
PREFIX, POSITIONS, QUERY = "prefix", "positions", "pool.query"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: safetensors type name and shape (of bytes, where values are packed)."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return math.prod(self.shape) * _TYPES[self.dtype]


def safetensors_bytes(tensors: Iterable[StoredTensor]) -> int:
    """Exact size of a safetensors file with these tensors and no metadata."""
    header: dict[str, object] = {}
    offset = 0
    # The writer's own order, widest type first and then by name: it decides the digits of the offsets.
    for tensor in sorted(tensors, key=lambda tensor: (-_RANKS.index(tensor.dtype), tensor.name)):
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return LENGTH_BYTES + math.ceil(text / 8) * 8 + offset


def packed_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` integers of ``bits`` bits side by side (4-bit values two to a byte)."""
    return math.ceil(values * bits / 8)


def float_parameters(blueprint: Blueprint) -> dict[str, torch.Tensor]:
    """Parameters that are float32 in every file, by name: of norms, rotations, scales, queries, padding."""
    found: dict[str, torch.Tensor] = {}
    for name, parts in blueprint.norms().items():
        found |= {f"{name}.weight": parts.weight, f"{name}.bias": parts.bias}
    for encoder in blueprint.encoders:
        if encoder.rotary is not None and encoder.rotary.frequencies is not None:
            found[frequencies(encoder.name)] = encoder.rotary.frequencies
        if encoder.window is not None and encoder.window.padding is not None:
            found[padding(encoder.name)] = encoder.window.padding
        if encoder.hidden_scales is not None:
            found[hidden_scales(encoder.name)] = encoder.hidden_scales
    if blueprint.readout.pool is not None:
        found[QUERY] = blueprint.readout.pool.query
    return found


def float_parameter_tensors(blueprint: Blueprint) -> Iterator[StoredTensor]:
    """What :func:`float_parameters` are in a file."""
    for name, value in float_parameters(blueprint).items():
        yield StoredTensor(name, "F32", tuple(value.shape))


def hidden_scales(encoder: str) -> str:
    """Name of what hidden channels of an encoder are multiplied with, where that is not 1 throughout."""
    return f"{encoder}.mlp.scales"


def padding(encoder: str) -> str:
    """Name of what queries, keys and values of an encoder's windows are where no token is."""
    return f"{encoder}.attn.padding"


def frequencies(encoder: str) -> str:
    """Name of the learned frequencies of an encoder's rotary positions."""
    return f"{encoder}.attn.frequencies"


def embedded_sites(blueprint: Blueprint) -> dict[str, str]:
    """Tensors that join the stream or the scores, by name: the site on whose grid they may be."""
    found = {PREFIX: blueprint.embedded_site} if len(blueprint.prefix) else {}
    if blueprint.positions is not None:
        found[POSITIONS] = "pos_embed"
    windowed = (encoder.name for encoder in blueprint.encoders if encoder.window is not None)
    return found | {bias_table(name): f"{name}.attn.bias" for name in windowed}


def embedded_tensors(blueprint: Blueprint, dtype: str) -> Iterator[StoredTensor]:
    """Prefix tokens, positions and tables of relative position biases, of one type."""
    if len(blueprint.prefix):
        yield StoredTensor(PREFIX, dtype, tuple(blueprint.prefix.shape))
    if blueprint.positions is not None:
        yield StoredTensor(POSITIONS, dtype, tuple(blueprint.positions.shape))
    for encoder in blueprint.encoders:
        if encoder.window is not None:
            yield StoredTensor(bias_table(encoder.name), dtype, (encoder.window.table_entries, encoder.heads))


def bias_table(encoder: str) -> str:
    """Name of the table of relative position biases of an encoder."""
    return f"{encoder}.attn.bias_table"


def float_tensors(blueprint: Blueprint, sites: Iterable[QuantSite]) -> Iterator[StoredTensor]:
    """The tensors of a file with every parameter in float32."""
    for site in sites:
        if site.kind == "weights":
            yield StoredTensor(site.name, "F32", (site.channels, site.elements // site.channels))
            yield StoredTensor(f"{site.name}.bias", "F32", (site.channels,))
    yield from float_parameter_tensors(blueprint)
    yield from embedded_tensors(blueprint, "F32")
