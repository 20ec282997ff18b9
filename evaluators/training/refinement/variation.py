"""Images varied at random, so that few of them teach much."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from bitfront.evaluators.data.images import PreprocessedImages

# Least share of an image that a crop takes.
LEAST_CROP = 0.6


def varied(images: PreprocessedImages, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normalised images, cropped at random, half of them mirrored but for grey ones, which often are texts.

    Args:
        images: All of them.
        chosen: Which, ``[n]``.
        generator: Of the CPU.
    """
    x = images.normalised(images.pixels[chosen])
    found = []
    for one in torch.split(x, 1):
        if one.shape[1] > 1 and torch.rand((), generator=generator) < 0.5:
            one = one.flip(-1)
        found.append(_cropped(one, generator))
    return torch.cat(found)


def _cropped(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    share = LEAST_CROP + (1.0 - LEAST_CROP) * float(torch.rand((), generator=generator))
    height, width = image.shape[2:]
    rows, columns = (max(1, round(side * math.sqrt(share))) for side in (height, width))
    top, left = (
        int(torch.randint(0, spare + 1, (), generator=generator))
        for spare in (height - rows, width - columns)
    )
    part = image[:, :, top : top + rows, left : left + columns]
    return F.interpolate(part, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
