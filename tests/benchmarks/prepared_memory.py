"""Bytes that a prepared model holds beside the float weights."""

from __future__ import annotations

import numpy as np
import torch

from bitfront.evaluators.quantized.prepared import PreparedModel


def prepared_bytes(prepared: PreparedModel, module: torch.nn.Module) -> int:
    """Bytes of every tensor and array that is reachable from a prepared model but not from its float module.

    Equalized float weights, which a recipe keeps beside the module's own, count, too.
    Memory that several tensors share counts once. oneDNN's prepacked weights are opaque; they count with the
    bytes of the codes that were packed into them.
    """
    theirs = _storages(list(module.parameters()))
    found = _storages(prepared)
    return sum(nbytes for address, nbytes in found.items() if address not in theirs)


def _storages(root: object) -> dict[int, int]:
    """Bytes of each piece of memory behind an object, by address."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, str | int | float | bool | type(None) | type):
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            address, nbytes = _memory(item)
            found[address] = max(found.get(address, 0), nbytes)
        elif isinstance(item, np.ndarray):
            found[item.ctypes.data] = max(found.get(item.ctypes.data, 0), item.nbytes)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
        elif hasattr(item, "__dict__"):
            waiting += vars(item).values()
    return found


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    if tensor.is_mkldnn:
        return id(tensor), tensor.numel()
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
