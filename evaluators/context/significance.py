"""Standard errors of accuracies, and the paired comparison of two models that saw the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def standard_error(percent: float, images: int) -> float:
    """Binomial standard error, in percentage points, of a share measured on ``images`` images."""
    share = percent / 100.0
    return 100.0 * math.sqrt(share * (1.0 - share) / images)


@dataclass(frozen=True)
class PairedComparison:
    """A model against a base model on the same images; only those that one of the two gets right count.

    Attributes:
        images: Images that both classified.
        lost: Images that only the base model gets right.
        won: Images that only the model gets right.
    """

    images: int
    lost: int
    won: int

    @property
    def difference(self) -> float:
        """Top-1 of the model less that of the base model, in percentage points; higher is better."""
        return 100.0 * (self.won - self.lost) / self.images

    @property
    def difference_standard_error(self) -> float:
        """Standard error of ``difference``, in percentage points.

        An image adds -1, 0 or 1, so the variance of the mean is ((lost + won)/n - ((won - lost)/n)^2)/n.
        """
        changed = (self.lost + self.won) / self.images
        mean = (self.won - self.lost) / self.images
        return 100.0 * math.sqrt((changed - mean * mean) / self.images)

    @property
    def mcnemar_p(self) -> float:
        """Two-sided p-value of the exact McNemar test, the binomial test of ``lost`` against ``won``.

        How often as lopsided a split would come about if an image were as likely to be lost as won.
        """
        from scipy.special import bdtr

        tail = float(bdtr(min(self.lost, self.won), self.lost + self.won, 0.5))
        return min(1.0, 2.0 * tail)

    def to_json(self) -> dict[str, Any]:
        """Counts and figures, under the names that JSON documents use."""
        return {
            "images": self.images,
            "lost": self.lost,
            "won": self.won,
            "top1_difference": self.difference,
            "top1_difference_standard_error": self.difference_standard_error,
            "mcnemar_p": self.mcnemar_p,
        }
