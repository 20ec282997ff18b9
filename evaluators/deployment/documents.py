"""The bit config document that every exported file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitfront.spaces import BitConfig, UserError

LONGEST = 10_000_000
_PREPROCESSING = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


def read_document(path: Path, text: str | None) -> dict[str, Any]:
    """The document of a file's metadata, checked as far as its bits.

    Raises:
        UserError: There is none, or it is damaged.
    """
    if text is None:
        raise UserError(f"{path} carries no bit config: give a file that bitfront export wrote")
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} carries a damaged bit config ({error}): export it again") from error
    BitConfig.from_json(document)
    return dict(document)


def preprocessing(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be done to images before the model sees them, as JSON has it (timm's names)."""
    found = {name: data_config[name] for name in _PREPROCESSING if name in data_config}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
