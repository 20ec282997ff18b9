"""When a candidate that has seen a part of the images cannot reach what it has to any more."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bitfront.evaluators.tasks.quality import Quality

# Below so many images, a first look decides too little to be worth its own step.
FEWEST_FIRST = 256
# More tell little that is not seen on these: what is far from the front is so by several points.
MOST_FIRST = 512
FIRST_SHARE = 0.25
# Paired standard errors by which a candidate may fall short and still be given more images.
PATIENCE = 2.0


def first_images(whole: int) -> int:
    """Images of a first look at a split of ``whole`` images: all of them where there are few."""
    first = min(MOST_FIRST, max(FEWEST_FIRST, math.ceil(FIRST_SHARE * whole)))
    return whole if 2 * first > whole else first


def growing(first: int, whole: int, batch_size: int) -> Iterator[int]:
    """How many images have been seen after each step: ``first``, then twice as many, up to ``whole``.

    Steps end with whole batches, so that each image is classified in the batch it would be in anyway.
    """
    done = min(whole, batch_size * math.ceil(first / batch_size))
    while done < whole:
        yield done
        done = min(whole, 2 * done)
    yield whole


def hopeless(quality: Quality, required: float) -> bool:
    """Whether a difference to the float model of ``required`` points is out of reach.

    It is where the difference on the images seen, which both models classified, lies more than two of its
    standard errors lower. One changed image more than were seen is counted, so that the error is never zero.

    Args:
        quality: What was found on the images seen.
        required: Percentage points, usually negative.
    """
    changed = (quality.lost + quality.won + 1) / quality.images
    error = 100.0 * math.sqrt(changed / quality.images)
    return quality.against_float.difference + PATIENCE * error < required
