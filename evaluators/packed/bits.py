"""Integers of 2 to 8 bits side by side in bytes.

Value ``i`` of ``b`` bits takes bits ``i b`` to ``i b + b - 1``, where bit ``k`` is bit ``k mod 8`` of byte
``k // 8``, counted from the least significant one. So the first of two 4-bit values is in the low half of a
byte, as in ONNX. Signed values are in two's complement; bits behind the last value are 0.
"""

from __future__ import annotations

import numpy as np
import torch

from bitfront.evaluators.packed.tensors import packed_bytes

# Eight values of b bits fill b bytes, which together are one little-endian word.
_VALUES = 8
_WORD = np.dtype("<u8")


def pack(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Packs integers, row by row.

    Args:
        values: int8 or uint8 of any shape, each within ``bits`` bits.
        bits: From 1 to 8.

    Returns:
        uint8 ``[packed_bytes(values, bits)]``.
    """
    flat = values.cpu().contiguous().view(torch.uint8).flatten().numpy()
    groups = -(-len(flat) // _VALUES)
    padded = np.zeros((groups, _VALUES), np.uint8)
    padded.reshape(-1)[: len(flat)] = flat & _mask(bits)
    words = np.zeros(groups, _WORD)
    for place in range(_VALUES):
        words |= padded[:, place].astype(_WORD) << np.uint64(place * bits)
    packed = words.view(np.uint8).reshape(groups, _VALUES)[:, :bits].reshape(-1)
    return torch.from_numpy(packed[: packed_bytes(len(flat), bits)].copy())


def unpack(packed: torch.Tensor, bits: int, count: int, *, signed: bool) -> torch.Tensor:
    """The inverse of :func:`pack`.

    Args:
        packed: uint8 ``[packed_bytes(count, bits)]``, on the CPU.
        bits: From 1 to 8.
        count: How many values there are.
        signed: Whether they are in two's complement.

    Returns:
        int8 or uint8 ``[count]``.

    Raises:
        ValueError: The bits behind the last value are not 0.
    """
    groups = -(-count // _VALUES)
    filled = np.zeros(groups * bits, np.uint8)
    filled[: len(packed)] = packed.numpy()
    words = np.zeros((groups, _VALUES), np.uint8)
    words[:, :bits] = filled.reshape(groups, bits)
    numbers = words.view(_WORD)[:, 0]
    by_word = np.empty((groups, _VALUES), np.uint8)
    for place in range(_VALUES):
        by_word[:, place] = ((numbers >> np.uint64(place * bits)) & np.uint64(_mask(bits))).astype(np.uint8)
    values = by_word.reshape(-1)
    if values[count:].any():
        raise ValueError(f"the bits behind its {count} values of {bits} bits are not 0")
    found = torch.from_numpy(values[:count])
    if not signed:
        return found
    half = 1 << (bits - 1)
    return ((found ^ half).view(torch.int8) - half) if bits < _VALUES else found.view(torch.int8)


def _mask(bits: int) -> int:
    return (1 << bits) - 1
