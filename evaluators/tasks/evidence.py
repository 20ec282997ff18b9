"""How well a float model's outputs fit labels: as they are, with the classes in another order, at best.

A guess is what Cohen (1960) calls agreement by chance: decisions that know nothing of the labels, as often
of each class as they are.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
# For every class of the data, the output that stands for it; -1 for none.
Order = NDArray[np.int64]

# A model is better than a guess where a guess does as well less often than this.
LEVEL = 0.05
# Images are enough where a model half-way between a guess and perfection would be found with this chance.
POWER = 0.99


class Evidence(Protocol):
    """Outputs beside labels, in the form that one kind of task compares them."""

    classes: int
    images: int

    def scores(self, order: Order) -> Numbers:
        """How well each image is decided were the classes in that order, ``[images]``; more is better."""

    def gains(self, rows: slice) -> tuple[Order, Numbers]:
        """Classes that some of the images have, and how well each output fits them, ``[these, outputs]``."""

    def told(self) -> float:
        """A sum of scores that outputs allow if they may be read in any way; 0 where it is not known."""

    def guess(self) -> float | None:
        """Share of images that a guess decides right, in percent; None where that is not the measure."""

    def better_than_guess(self) -> bool:
        """Whether the labels as they are fit better than chance would have it."""

    def enough(self) -> bool:
        """Whether the images are enough to find that."""

    def words(self, scores: Numbers) -> str:
        """A sum of scores in words."""


class OneClass:
    """One class to an image: right or wrong.

    Args:
        values: Logits ``[images, classes]``.
        decisions: Classes that the model chooses, ``[images]``.
        labels: The classes, ``[images]``.
    """

    def __init__(self, values: Numbers, decisions: Order, labels: Order) -> None:
        self._values, self._decisions, self._labels = values, decisions, labels
        self.images, self.classes = len(values), values.shape[1]

    def scores(self, order: Order) -> Numbers:
        """1 for images whose label is decided, 0 for others."""
        right: NDArray[np.bool_] = order[self._labels] == self._decisions
        return right.astype(np.float64)

    def gains(self, rows: slice) -> tuple[Order, Numbers]:
        """How often each class is decided as each output."""
        seen, places = np.unique(self._labels[rows], return_inverse=True)
        found = np.zeros((len(seen), self.classes))
        np.add.at(found, (places, self._decisions[rows]), 1.0)
        return seen, found

    def told(self) -> float:
        """Images that are nearest to the mean outputs of their class on the other half of the images."""
        spread = self._values.std(0)
        values = (self._values - self._values.mean(0)) / np.where(spread > 0, spread, 1.0)
        right = 0
        for fitted, judged in halves(self.images):
            seen = np.unique(self._labels[fitted])
            means = np.stack([values[fitted][self._labels[fitted] == label].mean(0) for label in seen])
            # The square of an image's own outputs is the same for all means.
            distances = (means**2).sum(1) - 2.0 * values[judged] @ means.T
            right += int((seen[distances.argmin(1)] == self._labels[judged]).sum())
        return float(right)

    def guess(self) -> float:
        """See :class:`Evidence`; at least that of a guess at any class alike."""
        decided = np.bincount(self._decisions, minlength=self.classes)
        given = np.bincount(self._labels, minlength=self.classes)
        by_chance = float(decided @ given) / float(self.images) ** 2
        return 100.0 * float(max(1.0 / self.classes, by_chance))

    def better_than_guess(self) -> bool:
        """By the binomial test."""
        return int((self._labels == self._decisions).sum()) >= self._fewest()

    def enough(self) -> bool:
        """See :data:`POWER`."""
        from scipy.stats import binom

        half_way = 0.5 * (1.0 + self.guess() / 100.0)
        return bool(binom.sf(self._fewest() - 1, self.images, half_way) >= POWER)

    def _fewest(self) -> int:
        """Images decided right from which on a model is better than a guess."""
        from scipy.stats import binom

        return int(binom.isf(LEVEL, self.images, self.guess() / 100.0)) + 1

    def words(self, scores: Numbers) -> str:
        """Images decided right."""
        return f"{int(scores.sum())} of {self.images} images right"


class ManyLabels:
    """Any number of labels to an image: whether outputs rank images with a label above those without.

    Args:
        values: Logits ``[images, labels]``.
        labels: 0 and 1, ``[images, labels]``.
    """

    def __init__(self, values: Numbers, labels: Order) -> None:
        self.images, self.classes = len(values), values.shape[1]
        self._ranks = _ranks(values)
        self._centred = labels - labels.mean(0)

    def scores(self, order: Order) -> Numbers:
        """What each image adds to the areas under the ROC curves, less those of a guess."""
        ranks = np.where(order >= 0, self._ranks[:, order], 0.0)
        found: Numbers = (ranks * self._centred).sum(1)
        return found

    def gains(self, rows: slice) -> tuple[Order, Numbers]:
        """Of each label by each output."""
        return np.arange(self.classes), self._centred[rows].T @ self._ranks[rows]

    def told(self) -> float:
        """Not known."""
        return 0.0

    def guess(self) -> None:
        """A guess is right on no certain share."""
        return

    def better_than_guess(self) -> bool:
        """By the permutation test."""
        return self._deviations(self._ranks) >= _normal(LEVEL)

    def enough(self) -> bool:
        """See :data:`POWER`."""
        return 0.5 * self._deviations(_ranks(self._centred)) >= _normal(LEVEL) + _normal(1.0 - POWER)

    def _deviations(self, ranks: Numbers) -> float:
        """How far a fit is above that of labels dealt out by lot, in its deviations (Hoeffding 1951)."""
        fit = ranks @ self._centred.T
        apart = fit - fit.mean(0) - fit.mean(1)[:, None] + fit.mean()
        variance = float((apart**2).sum()) / max(1, self.images - 1)
        return float(np.trace(fit) - fit.sum() / self.images) / max(float(np.sqrt(variance)), 1e-12)

    def words(self, scores: Numbers) -> str:
        """The mean area under the ROC curves, where a label counts by the variance that it has."""
        weight = float(np.abs(self._centred).sum()) or 1.0
        return f"ROC-AUC {50.0 + 200.0 * float(scores.sum()) / weight:.0f} %"


def halves(images: int) -> list[tuple[slice, slice]]:
    """Both halves of a split, each of which has its classes in proportion: to fit on and to judge on."""
    first, second = slice(None, images // 2), slice(images // 2, None)
    return [(first, second), (second, first)]


def _ranks(values: Numbers) -> Numbers:
    """Mean ranks in each column, from -0.5 to 0.5."""
    from scipy.stats import rankdata

    found: Numbers = (rankdata(values, axis=0) - 1.0) / max(1, len(values) - 1) - 0.5
    return found


def _normal(level: float) -> float:
    """Deviations that a normal variable exceeds so often."""
    from scipy.stats import norm

    return float(norm.isf(level))
