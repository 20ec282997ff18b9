"""Splits: disjoint, seeded, stratified sets of images to calibrate on, to search with and to report on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.data.source import CALIBRATING, NOT_TEST, SEARCHING, TEST, ImageSource
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


def most_search_images(source: ImageSource, calibration: int, test: int | None) -> int:
    """Search images that a source has, where the test split gets as many or the number asked for."""
    left = len(_serving(source, SEARCHING)) - (calibration if _shared(source) else 0)
    if _has_test_images(source):
        return left
    return left // 2 if test is None else left - test


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
    places: Mapping[str, str] = MappingProxyType({}),
) -> Splits:
    """Draws the splits; the same source, sizes and seed give the same splits.

    Each comes from the images whose ``partition`` lets them serve for it. Where these are the same for
    several splits, as in a source without a partition, they are shared out disjointly.

    Args:
        source: Where the images are.
        calibration: Images to calibrate on.
        search: Images to search with; by default as many as tell a difference of ``tell_apart``, at most half
            of those left where the test split comes from them too.
        test: Images to report on; by default all those left, at most 5,000.
        seed: Of the shuffle.
        tell_apart: See :func:`default_search_images`.
        places: What the images of a split are from, in words, where they have a place of their own.

    Raises:
        UserError: A size is below 1, or there are too few images.
    """
    for name, size in (("calibration", calibration), ("search", search), ("test", test)):
        if size is not None and size < 1:
            raise UserError(f"the {name} split cannot have {size} images; expected at least 1")
    rng, named = np.random.default_rng(seed), {"calibration": f"the train partition of {source.name}"}
    where = {**dict.fromkeys(("search", "test"), source.name), **named, **places}
    order = stratified(_serving(source, CALIBRATING), source.labels, rng)
    kept = 0 if _has_test_images(source) else (test or 1)  # of the images to search with
    if _shared(source):
        available = len(order) - (search or 1) - kept
        _check_enough("calibration", calibration, available, where["search"])
        calibrating, rest = order[:calibration], order[calibration:]
    else:
        _check_enough("calibration", calibration, len(order), where["calibration"])
        calibrating, rest = order[:calibration], stratified(_serving(source, SEARCHING), source.labels, rng)
    if search is None:
        most = len(rest) if kept == 0 else min(len(rest) // 2, len(rest) - (test or 0))
        search = max(1, min(most, default_search_images(tell_apart)))
    _check_enough("search", search, len(rest) - kept, where["search"])
    searching, left = rest[:search], rest[search:]
    if kept == 0:
        left = stratified(_serving(source, (TEST,)), source.labels, rng)
        _check_enough("test", test or 1, len(left), where["test"])
    return Splits(calibrating, searching, left[: test or LARGEST_DEFAULT_TEST])


def _serving(source: ImageSource, uses: tuple[str, ...]) -> Indices:
    """Positions of the images that may serve for one of some uses; all where the source has no partition."""
    sides = source.partition
    return np.flatnonzero(np.ones(len(source), bool) if sides is None else np.isin(sides, uses))


def _shared(source: ImageSource) -> bool:
    """Whether calibration and search images are drawn from the same ones."""
    return source.partition is None or bool((source.partition == NOT_TEST).any())


def _has_test_images(source: ImageSource) -> bool:
    """Whether some images may serve for the test split alone, which is then drawn from them."""
    return source.partition is not None and bool((source.partition == TEST).any())


def check_labels(source: ImageSource, classes: int, multiple: bool = False, mapped: bool = False) -> None:
    """Refuses labels that the model has no class for; warns where the number of classes differs.

    Args:
        source: Where the images are.
        classes: Outputs of the model.
        multiple: Whether an image has any number of labels, a row of 0 and 1.
        mapped: Whether a class map says which output each class name stands for.

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
        if source.class_names and source.class_names[0] == "":
            mend = "images beside the class folders are a class in natural order (timm's): take them out"
        raise UserError(
            f"{source.describe(first)} has label {source.labels[first]} ({len(outside)} such images); "
            f"expected 0 to {classes - 1}, the model's {classes} classes: {mend}"
        )
    names = source.class_names
    if names is not None and len(names) != classes and not mapped:
        log.warning(
            "%s has %d classes and the model %d: labels are positions in the sorted class names (%s = 0)",
            source.name, len(names), classes, names[0],
        )  # fmt: skip


def stratified(items: Indices, labels: Indices, rng: np.random.Generator) -> Indices:
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
