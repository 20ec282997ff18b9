"""How far any two points of a front differ in quality, with the standard error of each difference.

All that tells points apart goes through :class:`Differences`: a table of values and one of errors. Two
sources of errors are here; one that knows more, such as the posterior of estimates, replaces the tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitfront.search.problem.wording import Difference

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Two-sided and one-sided 5 % of the normal distribution.
TWO_SIDED, ONE_SIDED = 1.959963984540054, 1.6448536269514722


@dataclass(frozen=True)
class Differences:
    """Differences in quality of all pairs of points, and how sure they are.

    Attributes:
        values: The quality of the row's point less that of the column's, ``[points, points]``; higher is
            better, in the metric's unit.
        errors: Standard error of each, in that unit; NaN where it is not known.
        paired: Whether errors are those of pairs, by the images that one of two points gets right or by a
            posterior of both. Others are of points as if they were independent, the correlation being
            unknown.
    """

    values: Floats
    errors: Floats
    paired: bool = False

    @classmethod
    def of_estimates(cls, quality: Floats, errors: Floats) -> Differences:
        """Those of estimates whose errors are known one by one, ``[points]`` each.

        How they are correlated is not known: errors are those of independent ones. Points that saw the same
        images hardly ever go opposite ways by chance, so that this is too much rather than too little.
        """
        spread: Floats = np.hypot(errors[:, None], errors[None, :])
        np.fill_diagonal(spread, 0.0)
        return cls(quality[:, None] - quality[None, :], spread)

    @classmethod
    def of_pairs(
        cls, right: Flags, quality: Floats | None = None, errors: Floats | None = None
    ) -> Differences:
        """Those of points of which it is known which images each gets right.

        Args:
            right: bool ``[points, images]``.
            quality: Better estimates than the counts, ``[points]``, where there are any.
            errors: Of these, ``[points]``. Estimates are at least as sure as counts: of the error of the
                counted difference and that of independent estimates, the smaller one bounds theirs.
        """
        ones = right.astype(np.float64)
        only = ones @ (1.0 - ones).T
        spread = paired_error(right.shape[1], only.T, only)
        np.fill_diagonal(spread, 0.0)
        if quality is None:
            return cls(100.0 * (only - only.T) / right.shape[1], spread, paired=True)
        found = cls.of_estimates(quality, np.full(len(quality), np.nan) if errors is None else errors)
        return cls(found.values, np.fmin(spread, found.errors), paired=True)

    @property
    def known(self) -> bool:
        """Whether the error of any is known."""
        return bool(np.isfinite(self.errors[~np.eye(len(self.errors), dtype=bool)]).any())

    def alike(self) -> Flags:
        """Which points no test tells apart, two-sided at 5 %; equal ones alone where errors are not known."""
        return np.abs(self.values) <= TWO_SIDED * np.nan_to_num(self.errors, nan=0.0)

    def highest(self, other: int) -> Floats:
        """How much better than ``other`` each point may be, ``[points]``: one-sided 95 % confidence."""
        highest: Floats = self.values[:, other] + ONE_SIDED * np.nan_to_num(self.errors[:, other], nan=0.0)
        return highest

    def between(self, one: int, other: int) -> Difference:
        """The quality of one point less that of another."""
        error = float(self.errors[one, other])
        return Difference(float(self.values[one, other]), None if math.isnan(error) else error)


def paired_error(images: ArrayLike, lost: ArrayLike, won: ArrayLike) -> Floats:
    """Standard error of a difference of two shares of the same images, in points, for a test.

    Half an image is added to each of the four cells, so that few or no changed images are no certainty: tests
    by it agree with McNemar's mid-p test (Agresti and Min, Statistics in Medicine 24, 2005; Fagerland et al.,
    BMC Medical Research Methodology 13, 2013).

    Args:
        images: Images that both saw.
        lost: Those that only the other gets right; NaN where it is not known.
        won: Those that only this one gets right.
    """
    count, lost, won = (np.asarray(part, dtype=np.float64) for part in (images, lost, won))
    mean = (won - lost) / (count + 2.0)
    error: Floats = 100.0 * np.sqrt(((lost + won + 1.0) / (count + 2.0) - mean**2) / (count + 2.0))
    return error
