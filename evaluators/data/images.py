"""Preprocessed images: one split of a source, kept as bytes after the model's own preprocessing."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.data.image_options import CROP_MODES, INTERPOLATIONS, LARGEST_SIDE, SMALLEST_CROP
from bitfront.evaluators.data.sample_depth import SampleDepth, depth_of
from bitfront.evaluators.data.source import CorruptImageError, ImageSource, is_of_whole_numbers, with_channels
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

log = logging.getLogger(__name__)

LARGEST_ASPECT = 64  # resizing the shorter side of a sliver would make an enormous image
_PREPROCESSING = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


@dataclass(frozen=True, eq=False)
class PreprocessedImages:
    """Images of one split after resizing and cropping, before normalisation.

    Attributes:
        pixels: uint8 tensor ``[images, channels, height, width]``.
        labels: int64 tensor ``[images]``.
        indices: Position of every image in its source, shape ``[images]``.
        mean: Mean per channel, of pixel values scaled to 0..1.
        std: Standard deviation per channel, of the same values.
        skipped: Why each unreadable image was left out, naming it.
        remarks: What was made of images that are out of the common, a sentence each.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    indices: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> PreprocessedImages:
        """The images from ``start`` up to ``stop``; pixels are shared."""
        span = slice(start, stop)
        return dataclasses.replace(
            self, pixels=self.pixels[span], labels=self.labels[span], indices=self.indices[span]
        )

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 pixels ``[..., channels, height, width]`` as the float32 input of the model."""
        # Scaled before they are rounded to float32, as timm's loader does: the last bit differs otherwise.
        mean = torch.tensor([255.0 * value for value in self.mean]).view(-1, 1, 1)
        std = torch.tensor([255.0 * value for value in self.std]).view(-1, 1, 1)
        return (pixels.float() - mean) / std

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Normalised float32 images ``[n, channels, height, width]`` and labels ``[n]``, in order."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.normalised(self.pixels[part]), self.labels[part]


def load_images(
    source: ImageSource, indices: Sequence[int] | NDArray[np.int64], data_config: Mapping[str, Any]
) -> PreprocessedImages:
    """Loads and preprocesses the images of one split as timm does for validation.

    Unreadable images are left out, logged as warnings and listed in ``skipped``.

    Args:
        source: Where the images come from.
        indices: Positions in the source, shape ``[images]``.
        data_config: timm's resolved configuration of the model (``timm.data.resolve_data_config``).

    Raises:
        UserError: More than half of the images cannot be read.
    """
    ensure_torchvision()
    import timm.data

    channels, height, width = data_config["input_size"]
    # use_prefetcher leaves the pixels as uint8 [channels, height, width]: a quarter of the memory of floats
    preprocess = timm.data.create_transform(**data_config, is_training=False, use_prefetcher=True)
    pixels = np.empty((len(indices), channels, height, width), dtype=np.uint8)
    depth: SampleDepth | None = None
    wide = 0  # images of more than 8 bits for each value
    positions = np.array(indices, dtype=np.int64)  # a copy: bundles send both
    kept = np.zeros(len(positions), dtype=bool)
    skipped: list[str] = []
    # In the order of the source, which files of many images are read quickest in.
    for place in np.argsort(positions, kind="stable"):
        index = int(positions[place])
        try:
            image = source.load(index)
            if max(image.size) > LARGEST_ASPECT * min(image.size):
                raise CorruptImageError(
                    f"{source.describe(index)}: {image.width}x{image.height} pixels is too elongated to be "
                    "resized"
                )
            if is_of_whole_numbers(image):
                depth, wide = depth or depth_of(source), wide + 1
            bits = None if depth is None else depth.bits
            pixels[place] = preprocess(with_channels(image, channels, source.describe(index), bits))
        except CorruptImageError as error:
            log.warning("left out an image: %s", error)
            skipped.append(str(error))
        else:
            kept[place] = True
    if 2 * len(skipped) > len(indices):
        raise UserError(
            f"{len(skipped)} of {len(indices)} images of {source.name} cannot be read (first: {skipped[0]}); "
            "at least half must be readable: check the files, or that --data is the right folder"
        )
    if skipped:
        pixels, positions = pixels[kept], positions[kept]
    return PreprocessedImages(
        pixels=torch.from_numpy(pixels),
        labels=torch.from_numpy(source.labels[positions]),
        indices=positions,
        mean=tuple(data_config["mean"]),
        std=tuple(data_config["std"]),
        skipped=tuple(skipped),
        remarks=(f"{source.name}: {depth.words(wide, len(indices))}",) if depth else (),
    )


def preprocessing_to_json(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be done to images before a model sees them, as JSON has it (timm's names)."""
    found = {name: data_config[name] for name in _PREPROCESSING if name in data_config}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def preprocessing_from_json(document: Any) -> dict[str, Any]:
    """The inverse of :func:`preprocessing_to_json`, of a document of any origin.

    Raises:
        ValueError: Something is missing, or images cannot be preprocessed so.
    """
    try:
        found = {name: document[name] for name in _PREPROCESSING}
        found |= {name: tuple(found[name]) for name in ("input_size", "mean", "std")}
        sound = _is_sound(found)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise ValueError(f"expected {', '.join(_PREPROCESSING)} as timm has them")
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
        and SMALLEST_CROP <= config["crop_pct"] <= 1.0
        and config["interpolation"] in INTERPOLATIONS
        and config["crop_mode"] in CROP_MODES
    )
