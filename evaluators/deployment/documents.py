"""The bit config document that every exported file carries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitfront.spaces import BitConfig, UserError

LONGEST = 10_000_000
LARGEST_SIDE = 4096
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
_CROP_MODES = ("center", "squash", "border")
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
    try:
        BitConfig.from_json(document)
    except UserError as error:
        raise UserError(
            f"{path} carries a document that cannot be used ({error}): export it again"
        ) from error
    return dict(document)


def preprocessing(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be done to images before the model sees them, as JSON has it (timm's names)."""
    found = {name: data_config[name] for name in _PREPROCESSING if name in data_config}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def read_preprocessing(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`preprocessing` put into the document of a file, as timm takes it.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        recorded = document["provenance"]["preprocessing"]
        found = {name: recorded[name] for name in _PREPROCESSING}
        found |= {name: tuple(found[name]) for name in ("input_size", "mean", "std")}
        sound = _is_sound(found)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise UserError(
            f"{path} does not say how images are preprocessed: give --rebuild, or export it again"
        )
    return found


def _is_sound(config: Mapping[str, Any]) -> bool:
    """Whether images can be preprocessed so; numbers that are none raise TypeError or ValueError."""
    channels, *sides = config["input_size"]
    mean, std = config["mean"], config["std"]
    return (
        channels in (1, 3)
        and len(sides) == 2
        and all(type(side) is int and 0 < side <= LARGEST_SIDE for side in sides)
        and len(mean) == len(std) == channels
        and all(math.isfinite(value) for value in (*mean, *std))
        and min(std) > 0.0
        and 0.01 <= config["crop_pct"] <= 1.0
        and config["interpolation"] in _INTERPOLATIONS
        and config["crop_mode"] in _CROP_MODES
    )
