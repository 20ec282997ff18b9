"""How far two sensitivities rank the same genes alike, with what the choice of genes leaves uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 1000
SEED = 0
# Of the bootstrap intervals: 95 % of the resamples lie within.
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A rank correlation, from -1 to 1, and its bootstrap interval; NaN where all ranks are equal."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The figures by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class RankAgreement:
    """Two rank correlations of the same pair of sensitivities.

    Attributes:
        spearman: Pearson's correlation of the ranks, those of equals their mean (Spearman 1904).
        kendall: Concordant less discordant pairs, as a share, corrected for equals (tau-b, Kendall 1945).
    """

    spearman: Estimate
    kendall: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"spearman": self.spearman.to_json(), "kendall": self.kendall.to_json()}


def rank_agreement(first: Values, second: Values) -> RankAgreement:
    """Rank correlations of two sensitivities of the same genes, ``[genes]`` each.

    Intervals are those of 1,000 resamples of genes with replacement (percentile bootstrap; Efron 1979): what
    they say is how far the figure rests on single genes, not how noisy the measurements are.
    """
    from scipy.stats import rankdata

    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    rows = np.random.default_rng(SEED).integers(len(a), size=(RESAMPLES, len(a)))
    whole = np.arange(len(a))[None]
    ranked = [(rankdata(a[part], axis=1), rankdata(b[part], axis=1)) for part in (whole, rows)]
    spearman = [_correlations(x, y) for x, y in ranked]
    signs = [np.sign(values[:, None] - values[None]) for values in (a, b)]
    kendall = [_concordance(signs[0], signs[1], part) for part in (whole, rows)]
    return RankAgreement(_estimate(*spearman), _estimate(*kendall))


def _estimate(whole: Values, resampled: Values) -> Estimate:
    known = resampled[np.isfinite(resampled)]
    if not (np.isfinite(whole[0]) and len(known)):
        return Estimate(float(whole[0]), float("nan"), float("nan"))
    low, high = np.percentile(known, PERCENTILES)
    return Estimate(float(whole[0]), float(low), float(high))


def _correlations(x: Values, y: Values) -> Values:
    """Pearson's correlation of each row of two arrays, ``[rows]``."""
    x, y = (values - values.mean(1, keepdims=True) for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Values = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return found


def _concordance(first: Values, second: Values, rows: NDArray[np.int64]) -> Values:
    """Tau-b of each resample, ``[rows]``, from the signs of all differences, ``[genes, genes]``."""
    found = np.empty(len(rows))
    for number, row in enumerate(rows):
        a, b = (signs[np.ix_(row, row)] for signs in (first, second))
        scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
        found[number] = (a * b).sum() / scale if scale > 0 else np.nan
    return found
