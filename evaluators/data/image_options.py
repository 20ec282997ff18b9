"""What may be asked of preprocessing: timm's options, as people write them, and which values there are."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bitfront.spaces import UserError

LARGEST_SIDE = 4096
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
SMALLEST_CROP = 0.01


@dataclass(frozen=True)
class ImageOptions:
    """What was asked of preprocessing; None leaves a part to what the weights came with.

    Attributes:
        image_size: Height and width of the images that the model takes.
        mean: Mean of every channel, of pixel values from 0 to 1, or one for all.
        std: Standard deviation of every channel, of the same values, or one for all.
        crop_pct: Share of the resized image that the crop takes, above 0 and at most 1.
        crop_mode: ``center``, ``squash`` or ``border``, as timm has them.
        interpolation: Of resizing, by PIL's names in small letters.
    """

    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None

    def asked(self) -> dict[str, Any]:
        """The parts that were asked for, other than the image size, by timm's names."""
        return {
            name: value for name, value in vars(self).items() if value is not None and name != "image_size"
        }


# Options of the command line by field, for messages.
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in vars(ImageOptions())}


def read_image_options(written: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what people write for the fields of :class:`ImageOptions`; None stays None.

    Args:
        written: By field: numbers, texts such as ``448``, ``384x288`` and ``0.5,0.5,0.5``, or lists of them.

    Raises:
        UserError: A value is not what its option takes.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "image_size": read_size,
        "mean": partial(_channels, "mean", -math.inf),
        "std": partial(_channels, "std", 0.0),
        "crop_pct": _share,
        "crop_mode": partial(_one_of, "crop_mode", CROP_MODES),
        "interpolation": partial(_one_of, "interpolation", INTERPOLATIONS),
    }
    return {name: None if value is None else readers[name](value) for name, value in written.items()}


def read_size(value: Any) -> tuple[int, int]:
    """Height and width from a number, a text such as ``448`` or ``384x288``, or a pair.

    Raises:
        UserError: It is none of these, or a side is out of range.
    """
    parts: list[Any] = (
        re.split(r"[x, ]+", value.strip().lower())
        if isinstance(value, str)
        else list(value)
        if isinstance(value, list | tuple)
        else [value]
    )
    if len(parts) == 1 and isinstance(parts[0], str) and not isinstance(value, str):
        return read_size(parts[0])
    try:
        sides = [int(part) if isinstance(part, str) else part for part in parts]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or any(
        type(side) is not int or not 0 < side <= LARGEST_SIDE for side in sides
    ):
        raise UserError(
            f"--image-size {_shown(value)} is no size: give pixels such as 384, or height and width such as "
            f"384x288, from 1 to {LARGEST_SIDE}"
        )
    return sides[0], sides[-1]


def _channels(name: str, above: float, value: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in _flat(value))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in (1, 3) or not all(math.isfinite(n) and n > above for n in numbers):
        positive = "" if above < 0 else " above 0"
        raise UserError(
            f"{OPTIONS[name]} {_shown(value)} is not understood: give one number{positive} for each "
            "channel, such as 0.485 0.456 0.406, of pixel values from 0 to 1"
        )
    if max(numbers) > 2.0 and name == "mean":
        raise UserError(
            f"--mean {_shown(value)} is of pixel values from 0 to 255: divide --mean and --std by 255"
        )
    return numbers


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        return [part for part in re.split(r"[,; ]+", value.strip("()[] ")) if part]
    if isinstance(value, list | tuple):
        return [part for entry in value for part in _flat(entry)]
    return [value]


def _share(value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not SMALLEST_CROP <= share <= 1.0:
        raise UserError(
            f"--crop-pct {_shown(value)} is no share: give a number from {SMALLEST_CROP} to 1, such as 0.9"
        )
    return share


def _one_of(name: str, known: tuple[str, ...], value: Any) -> str:
    if value not in known:
        raise UserError(f"{OPTIONS[name]} {_shown(value)} is unknown: give one of {', '.join(known)}")
    return str(value)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
