"""Data sets given as Python objects: their images as PNG files, without loss, beside a ``labels.csv``."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import CorruptImageError, is_of_whole_numbers, with_channels
from bitfront.evaluators.data.table_columns import COLUMNS
from bitfront.evaluators.files import csv_text, explained
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import UserError

log = logging.getLogger(__name__)

TABLE = "labels.csv"
_LOSSLESS = ("1", "L", "LA", "P", "RGB", "RGBA")  # modes of PIL that PNG files keep as they are
_LARGEST_DEVIATION = 1e-6  # of float32 values from whole 255ths
_COMPRESSION = 1  # of 9: a third larger than the least, and written in a quarter of the time
_REMEDY = "give images before normalisation: without the transform, or with ToTensor alone"


class LabelledImages(Protocol):
    """A map-style data set of pairs (image, label), as torch and torchvision have them."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int) -> Any:
        """The pair at ``index``."""


def write_images(
    folder: Path,
    dataset: LabelledImages,
    classes: int | None,
    share_done: ShareDone = unreported,
    *,
    most: int | None = None,
    seed: int = 0,
    multiple: bool = False,
) -> Path:
    """Writes a data set so that :func:`~bitfront.evaluators.data.registry.open_source` gives the same images.

    Args:
        folder: Made, or replaced, once everything in it is written; its parent is there.
        dataset: Item ``i`` is a pair of an image and the index of its class, or a vector of 0 and 1 for each
            of several labels. Images are PIL images; uint8
            arrays or tensors ``[height, width, channels]``, ``[channels, height, width]`` or
            ``[height, width]``; or floats of the same shapes whose values are whole 255ths, as ``ToTensor``
            makes them.
        classes: Of the model; labels are below it. None where it is not known yet.
        share_done: Is told the share that is written.
        most: Images to write at most, drawn from all; None for all.
        seed: Of the draw.
        multiple: Whether an image has any number of labels, and so a vector.

    Returns:
        The ``labels.csv`` file: its columns are ``path`` and ``label``, and ``class`` where the data set
        names its ``classes``; for vectors, ``path`` and one for each label.

    Raises:
        UserError: There are no items, or one is not such a pair; the message names it. Or the place cannot
            be written.
        BitfrontError: The disk is full.
    """
    try:
        count = len(dataset)
    except TypeError as error:
        raise UserError(
            f"the data set ({type(dataset).__name__}) has no length: give a map-style one, with __len__ and "
            "__getitem__"
        ) from error
    if count < 1:
        raise UserError("the data set is empty; expected at least one pair of an image and a label")
    names = _class_names(dataset)
    chosen = list(range(count))
    if most is not None and most < count:
        chosen = np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).tolist()
        log.info("%d of the %d images given are written: the splits take no more", most, count)
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    with explained(folder):
        try:
            scratch.mkdir()
            rows: list[tuple[Any, ...]] = []
            for done, index in enumerate(chosen, start=1):
                image, label = _read(dataset, index, classes, multiple)
                name = f"{index:0{len(str(count - 1))}d}.png"
                image.save(scratch / name, compress_level=_COMPRESSION)
                if isinstance(label, tuple):
                    rows.append((name, *label))
                else:
                    rows.append((name, label, *(names[label : label + 1] if names else ())))
                share_done(done / len(chosen))
            if isinstance(label, tuple):
                named = names if len(names) == len(label) else tuple(f"label{i}" for i in range(len(label)))
                header: tuple[str, ...] = (COLUMNS[0], *named)
                if len(set(map(len, rows))) > 1:
                    raise UserError("the data set has labels of several lengths; expected one length for all")
            else:
                header = (*COLUMNS, "class") if names else COLUMNS
            (scratch / TABLE).write_text(csv_text(header, rows), encoding="utf-8", newline="")
            if folder.exists():
                shutil.rmtree(folder)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder / TABLE


def _class_names(dataset: Any) -> tuple[str, ...]:
    """The names that a data set has of its classes, also below ``torch.utils.data.Subset``."""
    while isinstance(dataset, torch.utils.data.Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return tuple(map(str, names)) if isinstance(names, Sequence) and not isinstance(names, str) else ()


def _read(
    dataset: LabelledImages, index: int, classes: int | None, multiple: bool
) -> tuple[Image.Image, int | tuple[int, ...]]:
    try:
        item = dataset[index]
    except Exception as error:  # a data set raises any type
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(f"item {index} of the data set cannot be read ({reason})") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(
            f"item {index} of the data set is a {type(item).__name__}; expected a pair (image, label)"
        )
    try:
        return _image(item[0]), _labels(item[1], classes) if multiple else _label(item[1], classes)
    except ValueError as error:
        raise UserError(f"item {index} of the data set {error}") from error


def _labels(value: Any, classes: int | None) -> tuple[int, ...]:
    vector = np.asarray(value)
    if vector.ndim != 1 or not np.isin(vector, (0, 1)).all() or classes not in (None, len(vector)):
        outputs = "" if classes is None else f" of {classes} values, one for each of the model's outputs"
        raise ValueError(f"has the labels {value!r:.40}; expected a vector of 0 and 1{outputs}")
    return tuple(int(entry) for entry in vector)


def _label(value: Any, classes: int | None) -> int:
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(
            f"has the label {value!r:.40}; expected the index of its class, a whole number from 0"
        )
    if value < 0 or (classes is not None and value >= classes):
        last = "" if classes is None else f" to {classes - 1}, for the model's {classes} classes"
        raise ValueError(f"has the label {value}; expected 0{last}")
    return int(value)


def _image(value: Any) -> Image.Image:
    if isinstance(value, Image.Image):
        return _from_pil(value)
    if isinstance(value, torch.Tensor):
        pixels, channels_first = value.detach().cpu().numpy(), True
    elif isinstance(value, np.ndarray):
        pixels, channels_first = value, False
    else:
        raise ValueError(
            f"has a {type(value).__name__} for an image; expected a PIL image, an array or a tensor"
        )
    if pixels.size == 0:
        raise ValueError(f"has an image of shape {list(pixels.shape)}; expected pixels")
    return Image.fromarray(_bytes(_channels_last(pixels, channels_first)))


def _from_pil(image: Image.Image) -> Image.Image:
    if image.mode in _LOSSLESS:
        return image
    try:
        if not is_of_whole_numbers(image):
            return with_channels(image, 3, "it")
        values = np.asarray(image)  # whose range shows when all are read
        if values.min() >= 0 and values.max() < 1 << 16:
            return Image.fromarray(values.astype(np.uint16))
    except (CorruptImageError, OSError) as error:
        raise ValueError(f"has an image of mode {image.mode}; expected 8 or 16 bits per channel") from error
    raise ValueError(f"has whole numbers from {values.min()} to {values.max()}; expected 0 to 65535")


def _channels_last(pixels: NDArray[Any], channels_first: bool) -> NDArray[Any]:
    """``[height, width]`` or ``[height, width, 3]``; where both ends could be channels, as is usual."""
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in (1, 3), pixels.shape[2] in (1, 3)
        if first and (channels_first or not last):
            pixels = np.moveaxis(pixels, 0, 2)
        if first or last:
            return pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    elif pixels.ndim == 2:
        return pixels
    raise ValueError(
        f"has an image of shape {list(pixels.shape)}; expected height and width, with 1 or 3 channels before "
        "or after them"
    )


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype not in (np.float32, np.float64):
        raise ValueError(f"has an image of {pixels.dtype} values; expected uint8, or float32 from 0 to 1")
    scaled = np.rint(pixels * 255.0)
    if not bool(np.isfinite(pixels).all()) or scaled.min() < 0 or scaled.max() > 255:
        raise ValueError(f"has values from {pixels.min():.3g} to {pixels.max():.3g}, not 0 to 1: {_REMEDY}")
    if float(np.abs(scaled / 255.0 - pixels).max()) > _LARGEST_DEVIATION:
        raise ValueError(f"has values between the 256 levels of an image: {_REMEDY}")
    return scaled.astype(np.uint8)
