"""The images that sensitivities are estimated on: a part of a split, taken evenly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bitfront.evaluators.data.images import PreprocessedImages

# Images of 224 x 224 pixels; of smaller ones, which small models see, there are more, and more at a time.
FEWEST, MOST = 64, 256
AT_A_TIME, MOST_AT_A_TIME = 2, 64
_PIXELS = 224 * 224


def pass_images(images: PreprocessedImages) -> tuple[int, Iterator[torch.Tensor]]:
    """How many images are taken, and their normalised batches ``[batch, channels, rows, columns]``.

    All intermediate values of a batch are held at a time: batches are small.

    Args:
        images: The split; all are taken where there are few.
    """
    height, width = images.pixels.shape[-2:]
    times = max(1, _PIXELS // (height * width))
    count = min(len(images), MOST, FEWEST * times)
    places = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    parts = torch.split(images.pixels[torch.from_numpy(places)], min(MOST_AT_A_TIME, AT_A_TIME * times))
    return count, (images.normalised(part) for part in parts)
