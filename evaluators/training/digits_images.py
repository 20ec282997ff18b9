"""Images that the digits models learn to read from: distorted scans, and canvases composed on the fly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample

from bitfront.evaluators.data.cluttered import DIGITS_READ, Canvases, ClutteredDigitsSource, training_scans
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.source import HELD_OUT, TEST, TRAIN
from bitfront.evaluators.torchvision_shim import ensure_torchvision


@dataclass(frozen=True)
class Distortion:
    """Largest distortions; every image draws its own, uniformly up to these.

    Attributes:
        rotation: In radians, either way.
        scale: Relative growth or shrinkage of each axis.
        shear: Horizontal shift per unit of height.
        shift: As a share of the image's side.
        contrast: Relative change of the pixel values.
    """

    rotation: float = 0.22
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.1
    contrast: float = 0.2

    def apply(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Distorted copies of float pixels ``[n, channels, height, width]`` whose background is 0."""
        count = len(pixels)

        def draw(largest: float) -> torch.Tensor:
            return (2.0 * torch.rand(count, generator=generator) - 1.0) * largest

        angle, shear = draw(self.rotation), draw(self.shear)
        wide, high = 1.0 + draw(self.scale), 1.0 + draw(self.scale)
        cos, sin = angle.cos(), angle.sin()
        # rows of [rotation][shear][scale], in coordinates from -1 to 1, so that a shift counts double
        rows = (cos * wide, (shear * cos - sin) * high, 2.0 * draw(self.shift))
        columns = (sin * wide, (shear * sin + cos) * high, 2.0 * draw(self.shift))
        matrices = torch.stack([torch.stack(rows, dim=-1), torch.stack(columns, dim=-1)], dim=1)
        grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
        moved = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (moved * (1.0 + draw(self.contrast)).view(-1, 1, 1, 1)).clamp(0.0, 255.0)


class ReadingBatch(NamedTuple):
    """Images to learn from.

    Attributes:
        images: Normalised ``[n, 1, side, side]``.
        digits: Of each image, from the left ``[n, digits]``.
        within: The digit that each pixel is in, counted from the left, or -1 ``[n, side, side]``; None where
            an image is one digit.
    """

    images: torch.Tensor
    digits: torch.Tensor
    within: torch.Tensor | None = None

    def parts(self, count: int) -> list[ReadingBatch]:
        """Consecutive parts, about as large as each other."""
        split = [values.chunk(count) for values in self if values is not None]
        return [ReadingBatch(*values) for values in zip(*split, strict=True)]


class ReadingImages(Protocol):
    """What a model is trained on."""

    labels: torch.Tensor

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> ReadingBatch:
        """Images with some scans."""

    def draws(self) -> str:
        """The state of generators of its own, as JSON."""

    def load_draws(self, draws: str) -> None:
        """Takes what :meth:`draws` gave."""

    def held_out(self) -> PreprocessedImages:
        """Images that are never trained on."""


class Scans:
    """Distorted scans of the train partition."""

    def __init__(self, module: nn.Module, seed: int, train_images: int | None) -> None:  # noqa: ARG002
        self._source, self._config = DigitsSource(), _data_config(module)
        train = np.flatnonzero(self._source.partition == TRAIN)[:train_images]
        self._images = load_images(self._source, train, self._config)
        self.labels = self._images.labels
        self._distortion = Distortion()

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> ReadingBatch:
        """See :class:`ReadingImages`."""
        pixels = self._distortion.apply(self._images.pixels[scans].float(), generator)
        return ReadingBatch(self._images.normalised(pixels), self.labels[scans].unsqueeze(1))

    def draws(self) -> str:
        """See :class:`ReadingImages`: there are none of its own."""
        return ""

    def load_draws(self, draws: str) -> None:
        """See :class:`ReadingImages`: there are none."""

    def held_out(self) -> PreprocessedImages:
        """See :class:`ReadingImages`."""
        held_out = np.flatnonzero(self._source.partition == HELD_OUT)
        return load_images(self._source, held_out, self._config)


class DrawnCanvases:
    """Every scan in another canvas each time, with two others."""

    def __init__(self, module: nn.Module, seed: int, train_images: int | None) -> None:
        self._config = _data_config(module)
        scans, labels = training_scans()
        self.labels = torch.from_numpy(labels[:train_images])
        self._canvases = Canvases(scans[:train_images])
        self._rng = np.random.default_rng(seed)

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> ReadingBatch:
        """See :class:`ReadingImages`."""
        others = torch.randint(len(self.labels), (len(scans), DIGITS_READ - 1), generator=generator)
        read = torch.cat([scans.unsqueeze(1), others], dim=1)
        read = read.gather(1, torch.rand(read.shape, generator=generator).argsort(dim=1))
        composed = [self._canvases.compose(row, self._rng) for row in read.tolist()]
        canvases, within = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*composed, strict=True))
        pixels = canvases.unsqueeze(1).float() / 255.0
        mean, std = float(self._config["mean"][0]), float(self._config["std"][0])
        return ReadingBatch((pixels - mean) / std, self.labels[read], within)

    def draws(self) -> str:
        """See :class:`ReadingImages`."""
        return json.dumps(self._rng.bit_generator.state)

    def load_draws(self, draws: str) -> None:
        """See :class:`ReadingImages`."""
        self._rng.bit_generator.state = json.loads(draws)

    def held_out(self) -> PreprocessedImages:
        """See :class:`ReadingImages`."""
        source = ClutteredDigitsSource()
        return load_images(source, np.flatnonzero(source.partition == TEST), self._config)


def _data_config(module: nn.Module) -> dict[str, Any]:
    ensure_torchvision()
    import timm.data

    return dict(timm.data.resolve_data_config({}, model=module))
