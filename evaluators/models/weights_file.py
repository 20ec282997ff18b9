"""Writing of weights: float16 safetensors with their origin in the header, complete or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from bitfront.spaces import UserError


def round_to_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous float16 copies of all tensors."""
    return {name: value.detach().half().contiguous() for name, value in state.items()}


def check_writable(path: Path) -> None:
    """Finds out before a long computation whether its file can be written.

    Raises:
        UserError: The folder does not exist or cannot be written, or the path is a folder.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; expected the name of a file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; expected an existing, writable folder"
        ) from error


def write_weights(state: Mapping[str, torch.Tensor], path: Path, facts: Mapping[str, object]) -> None:
    """Writes tensors, with ``facts`` as JSON strings in the header; the file appears only when complete.

    Raises:
        UserError: The folder does not exist or cannot be written, or the disk is full.
    """
    from safetensors.torch import save

    header = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    content = save(dict(state), metadata=header)
    try:
        _replace(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; "
            f"expected a writable folder with {len(content)} bytes free"
        ) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).chmod(0o644)  # mkstemp's files are private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
