"""Bit config documents, from JSON files and from exported models that carry one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitfront.spaces import UserError

LARGEST_BYTES = 10_000_000
# Endings of exported models.
_CARRIERS = (".safetensors", ".onnx", ".xml")


def read_config_document(path: Path) -> dict[str, Any]:
    """The bit config document of a file: of a bit config itself, or of an exported model.

    Raises:
        UserError: The file is missing, too large, of another kind, or carries none.
    """
    if path.suffix in _CARRIERS:
        from bitfront.evaluators.deployment.formats import file_document

        return file_document(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path} is too large for a bit config: give a file written by bitfront export")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as a bit config ({error}): give a file written by bitfront export"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object: give a file written by bitfront export")
    return document
