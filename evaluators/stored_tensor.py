"""Tensors as a safetensors file describes them, and the size of a file of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

# A safetensors file: 8 bytes of header length, the JSON header padded to 8 bytes, then the tensors.
LENGTH_BYTES = 8
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
    return LENGTH_BYTES + math.ceil(text / 8) * 8 + offset


def packed_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` integers of ``bits`` bits side by side (4-bit values two to a byte)."""
    return math.ceil(values * bits / 8)
