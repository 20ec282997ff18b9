"""Augmentation of small greyscale images for training: random affine distortion and contrast, vectorised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample


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
