"""A safetensors file with a JSON document in its metadata, and a digest of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bitfront.evaluators.files import readable, write_atomically
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

VERSION = "1"


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]
) -> None:
    """Writes tensors and a document, whole or not at all.

    Args:
        path: The file.
        kind: What it is, such as ``bitfront/refinement``.
        tensors: By name, on any device.
        document: JSON values by name.
    """
    stored = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(document)
    digest = fingerprint({"document": text, "tensors": stored})
    metadata = {"format": kind, "version": VERSION, "document": text, "digest": digest}
    write_atomically(path, save(stored, metadata=metadata))


def read_tensors(path: Path, kind: str, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the document of a file.

    Args:
        path: The file.
        kind: What it has to be.
        remedy: What to do about a file that is none, for the error.

    Raises:
        UserError: There is no such file, or it is damaged or something else.
    """
    try:
        with readable(path):
            content = path.read_bytes()
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        if (found := (header.get("format"), header.get("version"))) != (kind, VERSION):
            raise ValueError(f"it is {found[0]} version {found[1]}, expected {kind} version {VERSION}")
        text = header["document"]
        if header.get("digest") != fingerprint({"document": text, "tensors": tensors}):
            raise ValueError("its content differs from its digest")
        document: dict[str, Any] = json.loads(text)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: {remedy}") from error
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be used ({one_line(error, 120)}): {remedy}") from error
    return tensors, document
