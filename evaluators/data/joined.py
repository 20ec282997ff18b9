"""Several sources as one: images to calibrate on, to search with and to report on from different places."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.same_images import identities
from bitfront.evaluators.data.source import (
    CALIBRATING,
    HELD_OUT,
    NOT_TEST,
    SEARCH,
    SEARCHING,
    TEST,
    TRAIN,
    UNUSED,
    ImageSource,
    has_two_orders,
    remarks_of,
)
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

log = logging.getLogger(__name__)

_SPLITS = {"calibration": CALIBRATING, "search": SEARCHING, "test": (HELD_OUT, TEST)}
DATA, CALIBRATION_DATA, TEST_DATA = "--data", "--calibration-data", "--test-data"


@dataclass(frozen=True, eq=False)
class JoinedSource:
    """The images of several sources one after the other; satisfies ``ImageSource``.

    Attributes:
        name: What the user called them.
        parts: The sources.
        labels: Class indices ``[images]``, or 0 and 1 for every label ``[images, labels]``.
        partition: What every image may serve for.
        class_names: Name of every class index, or None.
    """

    name: str
    parts: tuple[ImageSource, ...]
    labels: NDArray[np.int64]
    partition: NDArray[np.str_]
    class_names: tuple[str, ...] | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Where the images of each split are from, and what the sources left out, a sentence each."""
        places: dict[str, dict[str, None]] = {split: {} for split in _SPLITS}
        start = 0
        for part in self.parts:
            sides = self.partition[start : start + len(part)]
            start += len(part)
            for split, uses in _SPLITS.items():
                if np.isin(sides, uses).any():
                    places[split][part.name] = None
        told = "; ".join(f"{split} images from {', '.join(names)}" for split, names in places.items())
        return (told, *dict.fromkeys(remark for part in self.parts for remark in remarks_of(part)))

    @property
    def two_orders(self) -> bool:
        """Whether one of them is class folders of which timm's order gives other labels."""
        return any(map(has_two_orders, self.parts))

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        """The decoded image at ``index``; raises CorruptImageError where it cannot be read."""
        part, within = self._find(index)
        return part.load(within)

    def describe(self, index: int) -> str:
        """What its own source calls it."""
        part, within = self._find(index)
        return part.describe(within)

    def _find(self, index: int) -> tuple[ImageSource, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)


def join_sources(data: ImageSource, calibration: ImageSource | None, test: ImageSource | None) -> ImageSource:
    """One source whose ``partition`` says which images may calibrate, steer the search and report.

    Calibration images come from ``calibration`` alone where it is given (its ``train`` part, where it has
    one), test images from ``test`` alone (its held-out part); ``data`` gives the others. An image of ``data``
    that is in one of the others too, as the same file or a copy, serves there alone, and one that is in both
    of these calibrates.

    Args:
        data: What the search sees.
        calibration: Where ranges are observed; None for ``data``.
        test: What the finished front is reported on; None for ``data``.

    Raises:
        UserError: Their classes are not the same, or labels are of different kinds.
    """
    parts = {DATA: data, CALIBRATION_DATA: calibration, TEST_DATA: test}
    given = {option: source for option, source in parts.items() if source is not None}
    if len(given) == 1:
        return data
    class_names, labels = _common_labels(given)
    uses = {
        option: _uses(option, source, calibration is not None, test is not None)
        for option, source in given.items()
    }
    _leave_out_shared(given, uses)
    return JoinedSource(
        " and ".join(dict.fromkeys(source.name for source in given.values())),
        tuple(given.values()),
        np.concatenate(labels),
        np.concatenate([uses[option] for option in given]),
        class_names,
    )


def _uses(option: str, source: ImageSource, calibrated: bool, tested: bool) -> NDArray[np.str_]:
    """What every image of a source may serve for, where some splits come from other sources."""
    sides = source.partition
    if option == CALIBRATION_DATA:
        taken = np.ones(len(source), bool) if sides is None else sides == TRAIN
        return np.where(taken, TRAIN, UNUSED)
    if option == TEST_DATA:
        reporting = TEST if sides is not None and (sides == TEST).any() else HELD_OUT
        taken = np.ones(len(source), bool) if sides is None else sides == reporting
        return np.where(taken, TEST, UNUSED)
    if sides is None:
        rest = HELD_OUT if not tested else SEARCH if calibrated else NOT_TEST
        return np.full(len(source), rest, dtype="<U12")
    changes = {TRAIN: UNUSED} if calibrated else {}
    changes |= {HELD_OUT: SEARCH, TEST: UNUSED} if tested else {}
    return np.array([changes.get(str(side), str(side)) for side in sides], dtype="<U12")


def _common_labels(
    given: Mapping[str, ImageSource],
) -> tuple[tuple[str, ...] | None, list[NDArray[np.int64]]]:
    """Class names of all sources, and the labels of each as positions in them.

    Sources that name their classes agree by name, and the one with the most classes gives the order; labels
    that are numbers in their files are class indices already.
    """
    _check_kinds(given)
    named = {option: source.class_names for option, source in given.items() if source.class_names}
    if len(set(named.values())) < 2:
        return next(iter(named.values()), None), [source.labels for source in given.values()]
    leading = max(named, key=lambda option: len(named[option] or ()))
    names = named[leading] or ()
    positions = {name: position for position, name in enumerate(names)}
    for option, own in named.items():
        foreign = [name for name in own or () if name not in positions]
        if foreign or len(positions) < len(names):
            raise UserError(
                f"{option} {given[option].name} has the class {foreign[0] if foreign else names[0]!r}, which "
                f"{leading} {given[leading].name} lacks; expected the same class names in all"
            )
    return names, [_renumbered(source, positions) for source in given.values()]


def _check_kinds(given: Mapping[str, ImageSource]) -> None:
    (first, leading), *others = given.items()
    for option, source in others:
        if source.labels.shape[1:] != leading.labels.shape[1:]:
            theirs, ours = (
                "one label" if labels.ndim == 1 else f"{labels.shape[1]} labels"
                for labels in (source.labels, leading.labels)
            )
            raise UserError(
                f"{option} {source.name} has {theirs} to an image, {first} {leading.name} {ours}; expected "
                "the same labels in all"
            )


def _renumbered(source: ImageSource, positions: Mapping[str, int]) -> NDArray[np.int64]:
    if source.class_names is None:
        return source.labels
    order = np.array([positions[name] for name in source.class_names], dtype=np.int64)
    if source.labels.ndim == 1:
        return order[source.labels]
    labels = np.zeros_like(source.labels)
    labels[:, order] = source.labels
    return labels


def _leave_out_shared(given: Mapping[str, ImageSource], uses: Mapping[str, NDArray[np.str_]]) -> None:
    """Marks images that another source has too as unused, so that each serves for one thing."""
    places = {
        option: {int(i): source.describe(int(i)) for i in np.flatnonzero(uses[option] != UNUSED)}
        for option, source in given.items()
    }
    known, seen = identities(places), dict[Hashable, str]()
    for option in (CALIBRATION_DATA, TEST_DATA, DATA):
        left_out: dict[str, list[int]] = {}
        own: dict[Hashable, str] = {}
        for index, keys in known.get(option, {}).items():
            other = next((seen[key] for key in keys if key in seen), None)
            if other is None:
                own |= dict.fromkeys(keys, option)
            else:
                left_out.setdefault(other, []).append(index)
        seen |= own
        for other, indices in left_out.items():
            uses[option][indices] = UNUSED
            images = count_of(len(indices), "image")
            first = given[option].describe(indices[0])
            log.warning("left out of %s: %s that %s has too (first: %s)", option, images, other, first)
