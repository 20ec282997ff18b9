"""Preprocessing of a model's images: by options, configurations beside the weights, or the model's own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from bitfront.evaluators.data.image_options import OPTIONS, ImageOptions, read_image_options, read_size
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
GIVEN = "as given"
_LARGEST = 10_000_000
_TIMMS = ("interpolation", "mean", "std", "crop_pct", "crop_mode")
_BY_NUMBER = (
    "nearest",
    "lanczos",
    "bilinear",
    "bicubic",
    "box",
    "hamming",
)  # PIL's, as transformers has them


@dataclass(frozen=True)
class Beside:
    """What configurations beside a weights file say of its images.

    Attributes:
        values: timm's ``mean``, ``std``, ``interpolation``, ``crop_pct`` and ``crop_mode``, as they say.
        image_size: Height and width of the images that the model takes; None where they do not say.
        source: Name of the file that was taken; empty where there is none.
        notes: Why a file was not taken.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    source: str = ""
    notes: tuple[str, ...] = ()


def beside(weights: Path, name: str) -> Beside:
    """Reads timm's ``config.json``, or Hugging Face's and its ``preprocessor_config.json``, beside weights.

    Args:
        weights: The weights file.
        name: Of the model: a configuration of another one is not taken, which is noted.

    Raises:
        UserError: A configuration holds values that cannot be used.
    """
    notes: list[str] = []
    config = _document(weights.with_name(CONFIG), notes)
    processor = _document(weights.with_name(PROCESSOR), notes)
    size = None
    architecture = config.get("architecture")
    if isinstance(architecture, str):
        asked = name.rpartition("/")[2].partition(".")[0]
        if architecture.partition(".")[0] == asked or ":" in name:
            settings = config["pretrained_cfg"] if isinstance(config.get("pretrained_cfg"), dict) else config
            values = {key: settings[key] for key in _TIMMS if settings.get(key) is not None}
            size = _sides(settings.get("input_size"))
            return Beside(_checked(values, weights.with_name(CONFIG)), size, CONFIG, tuple(notes))
        notes.append(
            f"images: {weights.with_name(CONFIG)} is of {architecture}, not of {name}: it is left out"
        )
    elif isinstance(config.get("model_type"), str):
        size = _sides(config.get("image_size"))
    if "image_mean" in processor or "image_processor_type" in processor:
        values = _checked(_of_processor(processor, size), weights.with_name(PROCESSOR))
        return Beside(values, size, PROCESSOR, tuple(notes))
    return Beside({}, size, CONFIG if size else "", tuple(notes))


def _document(path: Path, notes: list[str]) -> dict[str, Any]:
    if not os.path.isfile(path):
        return {}
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"images: {path} cannot be read and is left out ({one_line(error, 80)})")
        return {}
    return found if isinstance(found, dict) else {}


def _checked(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        return read_image_options(values)
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _sides(value: Any) -> tuple[int, int] | None:
    """Height and width of an input size (channels, height, width) or an image size."""
    sides = value[-2:] if isinstance(value, list) and len(value) in (2, 3) else value
    try:
        return None if sides is None else read_size(sides)
    except UserError:
        return None


def _of_processor(found: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    """Timm's names for what an image processor of transformers does."""
    values: dict[str, Any] = {}
    if found.get("do_normalize") is False:
        values |= {"mean": 0.0, "std": 1.0}
    else:
        values |= {"mean": found.get("image_mean"), "std": found.get("image_std")}
    number = found.get("resample")
    if type(number) is int and number < len(_BY_NUMBER):
        values["interpolation"] = _BY_NUMBER[number]
    resized = found.get("size")
    resized = {"height": resized, "width": resized} if type(resized) is int else resized
    cropped = found.get("crop_size")
    cropped = cropped.get("height") if isinstance(cropped, dict) else cropped
    if isinstance(resized, dict):
        shorter = resized.get("shortest_edge")
        side = shorter if type(shorter) is int else resized.get("height")
        taken = cropped if found.get("do_center_crop") and type(cropped) is int else None
        taken = taken or (size[0] if size else None) or side
        if type(side) is int and type(taken) is int and 0 < taken <= side:
            values |= {"crop_pct": taken / side, "crop_mode": "center" if shorter else "squash"}
    return {key: value for key, value in values.items() if value is not None}


def resolved_preprocessing(
    module: Any, options: ImageOptions, found: Beside
) -> tuple[dict[str, Any], dict[str, str]]:
    """How images become what a model sees, as timm resolves it.

    Args:
        module: With the image size that it takes, and its own ``pretrained_cfg``.
        options: What was asked for.
        found: What lies beside the weights.

    Returns:
        timm's data configuration, and for each part of it that is not the model's own where it is from.

    Raises:
        UserError: A mean or standard deviation is of another number of channels.
    """
    channels = int(module.patch_embed.proj.in_channels)
    return resolved_of_channels(module, channels, built_in_size(module), options, found)


def resolved_of_channels(
    module: Any, channels: int, sides: tuple[int, ...], options: ImageOptions, found: Beside
) -> tuple[dict[str, Any], dict[str, str]]:
    """:func:`resolved_preprocessing` of a model that takes images of so many channels and such a size."""
    import timm.data

    asked = options.asked()
    values = {**found.values, **asked}
    origins = dict.fromkeys(found.values, found.source) | dict.fromkeys(asked, GIVEN)
    for key in ("mean", "std"):
        if key in values and len(values[key]) not in (1, channels):
            where = OPTIONS[key] if key in asked else f"{key} in {found.source}"
            raise UserError(
                f"{where} has {len(values[key])} values, and the model takes {channels} channels: give "
                "one for each"
            )
    values["input_size"] = (channels, *sides)
    config = timm.data.resolve_data_config(values, model=module)
    own: Mapping[str, Any] = module.pretrained_cfg or {}
    # What only repeats the model's own is not worth a word.
    unlike = {key: where for key, where in origins.items() if key in asked or config[key] != own.get(key)}
    return dict(config), unlike


def unlike_training(config: Mapping[str, Any], trained_with: Mapping[str, Any]) -> tuple[str, ...]:
    """Says where images are preprocessed otherwise than a training script recorded, a sentence each."""
    found = []
    for key, value in trained_with.items():
        used, theirs = config[key], value
        if isinstance(value, tuple) and len(value) == 1:
            theirs = value * len(used)
        if used != theirs:
            words = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            found.append(
                f"images: the training arguments beside the weights have {OPTIONS[key]} {words}, which is "
                "not in use: give it here to have the same"
            )
    return tuple(found)


def built_in_size(module: nn.Module) -> tuple[int, int]:
    """Height and width of the images that a module takes."""
    plain: Any = module
    height, width = plain.patch_embed.img_size
    return int(height), int(width)
