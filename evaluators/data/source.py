"""Image sources: labelled images that can be loaded one by one, decoded though files may be hostile."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bitfront.spaces import BitfrontError
from bitfront.spaces.errors import one_line

# What an image may serve for: to calibrate; to search and to report; to search alone; to report alone; to
# calibrate or to search; nothing.
TRAIN, HELD_OUT, SEARCH, TEST, NOT_TEST, UNUSED = "train", "held-out", "search", "test", "not-test", "unused"
CALIBRATING, SEARCHING = (TRAIN, NOT_TEST), (HELD_OUT, SEARCH, NOT_TEST)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES = {1: "L", 3: "RGB"}


class CorruptImageError(BitfrontError):
    """An image that cannot be decoded; the message names the file and the reason."""


class ImageSource(Protocol):
    """A labelled collection of images."""

    @property
    def name(self) -> str:
        """How the source is called in records, such as ``digits``."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64: the class of every image ``[images]``, or 0 and 1 for every label ``[images, labels]``."""

    @property
    def partition(self) -> NDArray[np.str_] | None:
        """What every image may serve for, such as ``train``; None where each may serve for anything."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of every class index, where the source knows them; else None."""

    def __len__(self) -> int:
        """Number of images."""

    def load(self, index: int) -> Image.Image:
        """The decoded image at ``index``, in its own mode and size.

        Raises:
            CorruptImageError: The image cannot be read.
        """

    def describe(self, index: int) -> str:
        """The item's name for messages, such as its file name."""


def remarks_of(source: ImageSource) -> tuple[str, ...]:
    """What a source left out or is out of the common, a sentence each, where it knows."""
    return tuple(getattr(source, "remarks", ()))


def has_two_orders(source: ImageSource) -> bool:
    """Whether these are class folders, read in the plain order, of which timm's gives other labels."""
    return bool(getattr(source, "two_orders", False))


def decode_image(file: Path | IO[bytes], name: str) -> Image.Image:
    """Reads an image completely.

    Raises:
        CorruptImageError: The file is missing, no plain one, truncated, no image, or has more pixels than PIL
            deems safe.
    """
    if isinstance(file, Path) and file.exists() and not file.is_file():  # a pipe would be waited for
        raise CorruptImageError(f"{name}: not a plain file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.load()
                return image.copy()
    except FileNotFoundError as error:
        raise CorruptImageError(f"{name}: no such file") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ... on damaged input
        raise CorruptImageError(f"{name}: {_reason(error)}") from error


def with_channels(image: Image.Image, channels: int, name: str) -> Image.Image:
    """The image with 1 (greyscale) or 3 (RGB) channels of 8 bits.

    Palettes are looked up, 16-bit values keep their upper byte, alpha is dropped as timm does.

    Raises:
        CorruptImageError: The pixels are floating-point numbers, whose range is unknown.
        ValueError: ``channels`` is neither 1 nor 3.
    """
    if channels not in _MODES:
        raise ValueError(f"images have 1 or 3 channels, not {channels}")
    if image.mode == "F":
        raise CorruptImageError(f"{name}: floating-point pixels; expected 8 or 16 bits per channel")
    if image.mode.startswith("I"):  # PIL itself would clip 16-bit values to 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image file"
    return one_line(error)
