"""The images that a refinement learns from: those that calibrate, and others that no split has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.joined import JoinedSource
from bitfront.evaluators.data.remaining import images_of_others, open_unlabelled, remaining_images
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.data.source import ImageSource
    from bitfront.evaluators.data.splits import Indices

# What is learned from where no number is asked for: more of them bring little and take long.
USUAL_IMAGES = 1_024


class LearningImages(NamedTuple):
    """Images without their labels, and in words what they are."""

    images: PreprocessedImages
    words: str


def learning_images(
    context: EvaluationContext, count: int | None, data: str | None, seed: int
) -> LearningImages:
    """Images that neither steer nor report: those that calibrate first, then others, shuffled.

    Args:
        context: Whose calibration images these are, and whose splits they keep out of.
        count: Images in all; None for all that there are, at most :data:`USUAL_IMAGES`.
        data: Where the others come from; None for what the splits leave of the context's own data.
        seed: Of the shuffle.

    Raises:
        UserError: There are not so many, the data cannot be opened, or most of the images cannot be read.
    """
    source, splits = context.source, context.splits
    further = source if data is None else open_unlabelled(data, context.spec.columns)
    if data is None:
        others = remaining_images(source, splits, seed)
    else:
        others = images_of_others(further, source, splits, seed)
    calibrating = context.images("calibration")
    available = len(calibrating) + len(others)
    if count is not None and count > available:
        raise UserError(
            f"--images {count}: there are {available:,} that neither steer nor report ("
            f"{_words(len(calibrating), len(others), further, data)}): give at most that"
            + (", or others with --refine-data" if data is None else "")
        )
    wanted = min(available, USUAL_IMAGES) if count is None else count
    first = calibrating.part(0, min(wanted, len(calibrating)))
    rest = _loaded(further, others[: wanted - len(first)], context)
    words = _words(len(first), 0 if rest is None else len(rest), further, data)
    return LearningImages(_unlabelled([first] if rest is None else [first, rest]), words)


def _words(calibrating: int, others: int, further: ImageSource, data: str | None) -> str:
    parts = [f"{calibrating:,} that calibrate"]
    if others:
        parts.append(f"{others:,} of {_name(further)}" + (" that no split has" if data is None else ""))
    return " and ".join(parts)


def _name(source: ImageSource) -> str:
    """What a source is called, without the folder that it lies in: records and exports are passed on."""
    parts = source.parts if isinstance(source, JoinedSource) else (source,)
    return " and ".join(dict.fromkeys(PurePath(part.name).name for part in parts))


def _loaded(source: ImageSource, indices: Indices, context: EvaluationContext) -> PreprocessedImages | None:
    return load_images(source, indices, context.model.data_config) if len(indices) else None


def _unlabelled(parts: Sequence[PreprocessedImages]) -> PreprocessedImages:
    """All of some images as one, with a label of 0 each: nothing can be learned from that."""
    pixels = torch.cat([part.pixels for part in parts])
    return dataclasses.replace(
        parts[0],
        pixels=pixels,
        labels=torch.zeros(len(pixels), dtype=torch.int64),
        indices=np.arange(len(pixels)),
        skipped=tuple(reason for part in parts for reason in part.skipped),
    )


def told(found: LearningImages) -> str:
    """What is learned from, in a sentence."""
    left_out = count_of(len(found.images.skipped), "image") + " left out as unreadable"
    return f"learning from {count_of(len(found.images), 'image')}, without labels: {found.words}" + (
        f"; {left_out}" if found.images.skipped else ""
    )
