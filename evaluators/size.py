"""Model size: bytes of the packed file that carries a configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from bitfront.evaluators.calibration import is_residual
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.spaces import BitConfig, QuantSite

# A safetensors file: 8 bytes of header length, the JSON header padded to 8 bytes, then the tensors.
_LENGTH_BYTES = 8
_TYPES = {"U8": 1, "I8": 1, "F32": 4}


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
    for tensor in sorted(tensors, key=lambda tensor: (-_TYPES[tensor.dtype], tensor.name)):
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return _LENGTH_BYTES + math.ceil(text / 8) * 8 + offset


def packed_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` integers of ``bits`` bits side by side (4-bit values two to a byte)."""
    return math.ceil(values * bits / 8)


class SizeModel:
    """Sizes of a model's packed file at any configuration, and of its float file.

    Args:
        blueprint: The float model.
        sites: Its quantization sites.
    """

    def __init__(self, blueprint: Blueprint, sites: Iterable[QuantSite]) -> None:
        self._sites = tuple(sites)
        self._weights = {site.name: site for site in self._sites if site.kind == "weights"}
        self._blueprint = blueprint

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the packed file: weights at their widths, scales, biases, norms and activation grids."""
        return safetensors_bytes(self._packed(config))

    def float_bytes(self) -> int:
        """Bytes of a file with every parameter in float32."""
        return safetensors_bytes(self._float())

    def _width(self, site: QuantSite, config: BitConfig) -> int:
        if site.encoder is None or site.pinned:
            return dict(config.pinned)[site.layer]
        return config.encoders[site.encoder].bits(site.kind, site.layer)

    def _packed(self, config: BitConfig) -> Iterable[StoredTensor]:
        for site in self._sites:
            if site.kind == "weights":
                nbytes = packed_bytes(site.elements, self._width(site, config))
                yield StoredTensor(site.name, "U8", (nbytes,))
                yield StoredTensor(f"{site.name}.scale", "F32", (site.channels,))
                yield StoredTensor(f"{site.name}.bias", "F32", (site.channels,))
            else:
                # Scale and zero point of every activation grid.
                yield StoredTensor(f"{site.name}.scale", "F32", (1,))
                yield StoredTensor(f"{site.name}.zero_point", "U8", (1,))
                if is_residual(site.name):
                    yield StoredTensor(f"{site.name}.exponents", "U8", (self._blueprint.channels,))
        yield from self._norms()
        yield StoredTensor("prefix", "U8", tuple(self._blueprint.prefix.shape))
        yield StoredTensor("positions", "U8", tuple(self._blueprint.positions.shape))

    def _norms(self) -> Iterable[StoredTensor]:
        names = [f"{e.name}.norm{n}" for e in self._blueprint.encoders for n in (1, 2)]
        for name in [*names, "norm"]:
            yield StoredTensor(f"{name}.weight", "F32", (self._blueprint.channels,))
            yield StoredTensor(f"{name}.bias", "F32", (self._blueprint.channels,))

    def _float(self) -> Iterable[StoredTensor]:
        for site in self._weights.values():
            yield StoredTensor(site.name, "F32", (site.channels, site.elements // site.channels))
            yield StoredTensor(f"{site.name}.bias", "F32", (site.channels,))
        yield from self._norms()
        yield StoredTensor("prefix", "F32", tuple(self._blueprint.prefix.shape))
        yield StoredTensor("positions", "F32", tuple(self._blueprint.positions.shape))
