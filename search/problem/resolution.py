"""What difference between two models the images of a split tell from chance, and which limits are finer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bitfront.evaluators.data.splits import CHANGED_SHARE, images_to_tell, told_apart
from bitfront.search.problem.limits import AskedLimit
from bitfront.search.problem.wording import duration
from bitfront.spaces.quantities import count_of

# An evaluation that takes longer is said to do so.
LONG_S = 10.0


@dataclass(frozen=True)
class Resolution:
    """What the images of a split tell of the difference between two models that classify all of them.

    Attributes:
        images: Of the split.
        changed: Share of them that the 8-bit model decides otherwise than the float model, or what is usual
            where that is more: narrower models change more.
        available: Images that the data has for such a split, with as many for the test split.
        seconds: Of one evaluation of the split.
        finer: Drops that limits allow, in points, by the option that names them, below ``points``.
    """

    images: int
    changed: float
    available: int
    seconds: float = 0.0
    finer: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls,
        images: int,
        changed: int,
        available: int = 0,
        seconds: float = 0.0,
        limits: Sequence[AskedLimit] = (),
    ) -> Resolution:
        """The resolution of a split.

        Args:
            images: Of the split.
            changed: Of these, how many the 8-bit model decides otherwise than the float model.
            available: Images that the data has for such a split.
            seconds: Of one evaluation.
            limits: Those of them that are drops of a share in percent are compared.
        """
        share = max(CHANGED_SHARE, changed / images)
        points = told_apart(images, share)
        drops = ((limit.origin, abs(limit.offset)) for limit in limits if limit.share and limit.unit == "%")
        finer = tuple((origin, drop) for origin, drop in drops if drop < points)
        return cls(images, share, max(available, images), seconds, finer)

    @property
    def points(self) -> float:
        """The least difference that is told from chance, in percentage points: two standard errors."""
        return told_apart(self.images, self.changed)

    def words(self, split: str, metric: str) -> str:
        """What the images of a split tell of a metric, such as ``top-1``."""
        images = count_of(self.images, f"{split} image")
        known = (
            f"{images} tell differences of {_rounded_up(self.points)} points of {metric} apart (two standard "
            "errors)"
        )
        if self.seconds < LONG_S:
            return known
        return f"{known}; one evaluation of all of them takes about {duration(self.seconds)}"

    def warnings(self) -> list[str]:
        """A sentence for every limit that is finer than that, with what helps."""
        return [f"{origin} is finer than that: {self._remedy(drop)}" for origin, drop in self.finer]

    def _remedy(self, drop: float) -> str:
        needed = images_to_tell(drop, self.changed) if drop > 0 else math.inf
        if needed <= self.available:
            return f"give --search-images {needed} ({self.available:,} could be had), or a looser limit"
        if self.available > self.images:
            finest = _rounded_up(told_apart(self.available, self.changed))
            return (
                f"the data has no more than {self.available:,} images to search with (--search-images "
                f"{self.available}), which tell {finest} points: give more images, or a looser limit"
            )
        return "the data has no more images to search with: give more of them, or a looser limit"

    def to_json(self) -> dict[str, Any]:
        """The entry of ``summary.json``."""
        return {
            "images": self.images,
            "available_images": self.available,
            "changed_share": self.changed,
            "points": self.points,
            "evaluation_seconds": self.seconds,
            "finer_limits": dict(self.finer),
        }


def _rounded_up(points: float) -> str:
    """Points with one decimal, or two below one."""
    decimals = 1 if points >= 1 else 2
    return f"{math.ceil(points * 10**decimals - 1e-6) / 10**decimals:.{decimals}f}"
