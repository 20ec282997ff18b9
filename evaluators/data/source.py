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
# Whole numbers from here on are of 16 bits, whatever other images hold.
_SURELY_16 = 1 << 14
# Where a decoded image has the bits that its file declares, and TIFF's tags for them.
_DECLARED, _BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = "declared bits", 258, 281
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
                decoded = image.copy()
                bits = _bits_in_file(image)
                if bits is not None:
                    decoded.info[_DECLARED] = bits
                return decoded
    except FileNotFoundError as error:
        raise CorruptImageError(f"{name}: no such file") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ... on damaged input
        raise CorruptImageError(f"{name}: {_reason(error)}") from error


def is_of_whole_numbers(image: Image.Image) -> bool:
    """Whether the pixels are whole numbers of 16 or 32 bits."""
    return image.mode.startswith("I")


def declared_bits(image: Image.Image) -> int | None:
    """The bits of whole numbers that a file says it holds, where they are not those of its container."""
    found = image.info.get(_DECLARED)
    return found if isinstance(found, int) else None


def _bits_in_file(image: Image.Image) -> int | None:
    """See :func:`declared_bits`, of an image that was just read."""
    if not is_of_whole_numbers(image):
        return None
    if image.format == "PPM":
        return 16  # to which PIL scales every range
    tags = getattr(image, "tag_v2", {})
    bits, largest = tags.get(_BITS_PER_SAMPLE), tags.get(_MAX_SAMPLE_VALUE)
    if isinstance(largest, tuple):
        (largest, *_) = (*largest, None)
    if isinstance(largest, int) and largest > 0:
        return min(largest.bit_length(), 16)
    return int(bits[0]) if isinstance(bits, tuple) and bits and 8 < bits[0] < 16 else None


def with_channels(image: Image.Image, channels: int, name: str, bits: int | None = 16) -> Image.Image:
    """The image with 1 (greyscale) or 3 (RGB) channels of 8 bits.

    Palettes are looked up, whole numbers of more bits keep their upper 8, alpha is dropped as timm does.

    Args:
        image: As it was decoded.
        channels: 1 or 3.
        name: For messages.
        bits: Of whole numbers in images that do not say it; None where it is not known.

    Raises:
        CorruptImageError: The pixels are floating-point numbers, whose range is unknown, or whole numbers of
            another range than that.
        ValueError: ``channels`` is neither 1 nor 3.
    """
    if channels not in _MODES:
        raise ValueError(f"images have 1 or 3 channels, not {channels}")
    if image.mode == "F":
        low, high = image.getextrema()
        raise CorruptImageError(
            f"{name}: floating-point pixels from {low:.4g} to {high:.4g}, of a range that is not known; "
            "expected whole numbers: save them with 8 bits"
        )
    if is_of_whole_numbers(image):  # PIL itself would clip them at 255
        image = Image.fromarray(_upper_bytes(image, name, declared_bits(image) or bits))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    try:
        return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
    except ValueError as error:  # such as LAB to greyscale
        raise CorruptImageError(f"{name}: {one_line(error)}") from error


def _upper_bytes(image: Image.Image, name: str, bits: int | None) -> NDArray[np.uint8]:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if bits is None and high >= _SURELY_16:
        bits = 16
    if bits is None or low < 0 or high >= 1 << bits:
        expected = "a range that other images have, too" if bits is None else f"0 to {(1 << bits) - 1}"
        found = f"whole numbers from {low} to {high} in pixels of mode {image.mode}"
        raise CorruptImageError(f"{name}: {found}; expected {expected}: save it with 8 bits")
    upper: NDArray[np.uint8] = (values.astype(np.int64) >> max(0, bits - 8)).astype(np.uint8)
    return upper


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image file"
    return one_line(error)
