"""One kept preparation as a file: tensors and a JSON document in safetensors, with a digest of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.spaces import BitfrontError

FORMAT = "bitfront/preparation"
VERSION = 1


class DamagedEntryError(BitfrontError):
    """A file is not the preparation that its name says, or not any more."""


def entry_bytes(key: str, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> bytes:
    """The content of the file that keeps ``tensors`` and ``document`` under ``key``.

    Raises:
        TypeError: The document is not made of JSON values.
    """
    text = json.dumps(document)
    stored = _storable(tensors)
    header = _identity(key) | {"document": text, "digest": _digest(text, stored)}
    return save(stored, metadata=header)


def read_entry(path: Path, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, on the CPU and writable, and the document of a file.

    Raises:
        DamagedEntryError: The file is truncated or altered, was not written by this program, or holds another
            version or key.
        OSError: The file cannot be read, or does not exist.
    """
    # read at once: safe_open opens the file twice, and another process may replace it in between
    content = path.read_bytes()
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch lacks
        raise DamagedEntryError(f"not a safetensors file of tensors: {error}") from error
    header = _metadata(content)
    _check_identity(header, key)
    text = header.get("document", "")
    if header.get("digest") != _digest(text, tensors):
        raise DamagedEntryError("its content differs from its digest")
    return tensors, json.loads(text)


def _metadata(content: bytes) -> dict[str, str]:
    """The free texts in the header of a valid safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] | None = json.loads(content[8 : 8 + length]).get("__metadata__")
    return metadata or {}


def _identity(key: str) -> dict[str, str]:
    return {"format": FORMAT, "version": str(VERSION), "key": key}


def _check_identity(header: Mapping[str, str], key: str) -> None:
    for name, expected in _identity(key).items():
        if header.get(name) != expected:
            raise DamagedEntryError(f"its {name} is {header.get(name)!r}, expected {expected!r}")


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return fingerprint({"document": text, "tensors": tensors})


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors on the CPU; safetensors refuses those that share a storage."""
    stored: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        stored[name] = plain.clone() if place in storages else plain
        storages.add(place)
    return stored
