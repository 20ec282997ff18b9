"""Splits: disjoint, seeded, stratified sets of images to calibrate on, to search with and to report on."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.data.source import HELD_OUT, TRAIN, ImageSource
from bitfront.spaces import UserError

log = logging.getLogger(__name__)

# Where no number of search images is asked for. More than the largest number take gigabytes in every process
# that evaluates; the fewest are what earlier versions took at most.
FEWEST_DEFAULT_SEARCH, LARGEST_DEFAULT_SEARCH = 512, 10_000
LARGEST_DEFAULT_TEST = 5_000
# Share of the images that a model worth having decides otherwise than the float model, for better or worse.
CHANGED_SHARE = 0.04
# What is told from chance lies so many standard errors from zero.
STANDARD_ERRORS = 2.0

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions in the source, disjoint; every prefix of a split has its classes in proportion.

    Attributes:
        calibration: Where ranges are observed.
        search: What candidates are compared on.
        test: What the finished front is reported on.
    """

    calibration: Indices
    search: Indices
    test: Indices

    def to_json(self) -> dict[str, list[int]]:
        """A JSON object with the three lists of positions."""
        return {name: indices.tolist() for name, indices in vars(self).items()}


def told_apart(images: int, changed: float = CHANGED_SHARE) -> float:
    """Least difference of two models in percentage points that so many images tell from chance.

    An image adds -1, 0 or 1 to a paired difference: its standard error is at most 100 sqrt(changed/n).

    Args:
        images: That both models classify.
        changed: Share of them that one of both alone gets right.
    """
    return STANDARD_ERRORS * 100.0 * math.sqrt(changed / images)


def images_to_tell(difference: float, changed: float = CHANGED_SHARE) -> int:
    """The inverse of :func:`told_apart`: images that tell a difference, above 0, in percentage points."""
    return math.ceil(changed * (STANDARD_ERRORS * 100.0 / difference) ** 2 - 1e-9)


def default_search_images(tell_apart: float | None) -> int:
    """Images of a search split, where the data has them, that tell a difference in percentage points.

    None stands for the rule of earlier versions, by which runs of theirs are rebuilt.
    """
    if tell_apart is None:
        return FEWEST_DEFAULT_SEARCH
    finest = told_apart(LARGEST_DEFAULT_SEARCH)
    return max(FEWEST_DEFAULT_SEARCH, images_to_tell(max(tell_apart, finest)))


def left_by_calibration(source: ImageSource, calibration: int) -> int:
    """Images that a source has for the search and the test split."""
    return (
        len(source) - calibration if source.partition is None else int((source.partition == HELD_OUT).sum())
    )


def largest_splits(
    calibration: int, search: int | None, test: int | None, tell_apart: float | None = None
) -> int:
    """Images with which :func:`make_splits` gives the largest splits; a larger source gives no larger ones.

    It takes at most half of what calibration leaves for a search split of the default size.
    """
    default = default_search_images(tell_apart)
    rest = (search or default) + (test or LARGEST_DEFAULT_TEST)
    return calibration + (rest if search else max(rest, 2 * default))


def make_splits(
    source: ImageSource,
    *,
    calibration: int,
    search: int | None,
    test: int | None,
    seed: int,
    tell_apart: float | None = None,
) -> Splits:
    """Draws the splits; the same source, sizes and seed give the same splits.

    Calibration images come from the source's ``train`` partition, the others from its ``held-out`` partition.
    A source without a partition gives all three from the same images, disjointly.

    Args:
        source: Where the images are.
        calibration: Images to calibrate on.
        search: Images to search with; by default as many as tell a difference of ``tell_apart``, at most half
            of those left.
        test: Images to report on; by default all those left, at most 5,000.
        seed: Of the shuffle.
        tell_apart: See :func:`default_search_images`.

    Raises:
        UserError: A size is below 1, or there are too few images.
    """
    for name, size in (("calibration", calibration), ("search", search), ("test", test)):
        if size is not None and size < 1:
            raise UserError(f"the {name} split cannot have {size} images; expected at least 1")
    rng = np.random.default_rng(seed)
    if source.partition is None:
        order = _stratified(np.arange(len(source)), source.labels, rng)
        _check_enough("calibration", calibration, len(order) - (search or 1) - (test or 1), source.name)
        calibrating, rest = order[:calibration], order[calibration:]
    else:
        calibrating, rest = (
            _stratified(np.flatnonzero(source.partition == side), source.labels, rng)
            for side in (TRAIN, HELD_OUT)
        )
        _check_enough("calibration", calibration, len(calibrating), f"the train partition of {source.name}")
    if search is None:
        search = max(1, min(len(rest) // 2, len(rest) - (test or 0), default_search_images(tell_apart)))
    _check_enough("search", search, len(rest) - (test or 1), source.name)
    if test is None:
        test = min(len(rest) - search, LARGEST_DEFAULT_TEST)
    return Splits(calibrating[:calibration], rest[:search], rest[search : search + test])


def check_labels(source: ImageSource, classes: int, multiple: bool = False) -> None:
    """Refuses labels that the model has no class for; warns where the number of classes differs.

    Args:
        source: Where the images are.
        classes: Outputs of the model.
        multiple: Whether an image has any number of labels, a row of 0 and 1.

    Raises:
        UserError: A label is outside 0 to ``classes`` - 1, or images have one label where they should have
            any number, or the reverse.
    """
    if multiple != (source.labels.ndim == 2):
        one, many = "one label", "any number of labels"
        found, taken, task = (one, many, "classification") if multiple else (many, one, "multilabel")
        raise UserError(
            f"{source.name} has {found} to an image, and the task takes {taken}: give --task {task}, or "
            "other data"
        )
    if multiple:
        if source.labels.shape[1] != classes:
            raise UserError(
                f"{source.name} has {source.labels.shape[1]} labels and the model {classes} outputs: pass "
                "data or a checkpoint that fits"
            )
        return
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
    if len(outside):
        first = int(outside[0])
        from_one = source.labels.min() == 1 and source.labels.max() == classes
        mend = "pass data or a checkpoint that fits"
        if from_one:
            mend = "the labels seem to begin at 1: subtract 1 from each"
        raise UserError(
            f"{source.describe(first)} has label {source.labels[first]} ({len(outside)} such images); "
            f"expected 0 to {classes - 1}, the model's {classes} classes: {mend}"
        )
    names = source.class_names
    if names is not None and len(names) != classes:
        log.warning(
            "%s has %d classes and the model %d: labels are positions in the sorted class names (%s = 0)",
            source.name, len(names), classes, names[0],
        )  # fmt: skip


def _stratified(items: Indices, labels: Indices, rng: np.random.Generator) -> Indices:
    """The items shuffled so that every prefix holds each class nearly in proportion.

    The members of a class are shuffled and spread evenly over 0..1, from a random offset; sorting by that
    place interleaves the classes.
    """
    shuffled = rng.permutation(items).astype(np.int64)
    classes = labels[shuffled]
    if labels.ndim == 2:
        # The rarest label of an image is the one that is hardest to spread (Sechidis et al. 2011).
        rarity = np.argsort(np.argsort(labels.sum(0), kind="stable"))
        ranked = np.where(labels[shuffled] > 0, rarity, labels.shape[1])
        classes = ranked.min(1)
    place = np.empty(len(shuffled))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return shuffled[np.argsort(place, kind="stable")]


def _check_enough(split: str, needed: int, available: int, where: str) -> None:
    if needed > available:
        raise UserError(
            f"too few images in {where}: the {split} split needs {needed}, "
            f"{max(0, available)} are available; pass more images or smaller splits"
        )
