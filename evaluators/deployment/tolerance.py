"""What the evaluator says of some images, and how far an exported file may be from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bitfront.evaluators.context.significance import PairedComparison, standard_error

if TYPE_CHECKING:  # the command line takes its defaults from here without loading numpy
    import numpy as np
    from numpy.typing import NDArray

Classes: TypeAlias = "NDArray[np.int64]"
# How many standard errors chance may take.
CHANCE = 3.0


@dataclass(frozen=True)
class Expected:
    """What the evaluator makes of the images.

    Attributes:
        predictions: Its classes, int64 ``[images]``.
        second: Those of its second set of kernels, which computes the same integers and rounds floats in
            another order, int64 ``[images]``; None where it was not asked.
        labels: int64 ``[images]``.
    """

    predictions: Classes
    second: Classes | None
    labels: Classes

    @property
    def top1(self) -> float:
        """Of the evaluator, in percent."""
        return 100.0 * float((self.predictions == self.labels).mean())

    @property
    def reproducible(self) -> float | None:
        """Images that both sets of kernels give the same class, in percent."""
        return None if self.second is None else 100.0 * float((self.predictions == self.second).mean())


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the evaluator.

    Where codes are rounded from floats, two correct implementations part at ties, and every quantized layer
    behind widens the gap (about as far as quantization itself moves logits). So the bounds give way to what
    is measured of that: the evaluator's own two sets of kernels, and chance.

    Attributes:
        top1: Points of top-1.
        equal: Least share of equal predictions, in percent.
    """

    top1: float = 0.3
    equal: float = 99.0

    def largest_difference(self, compared: PairedComparison) -> float:
        """Points of top-1 that a comparison may show: the bound, or three paired standard errors."""
        return max(self.top1, CHANCE * compared.difference_standard_error)

    def least_equal(self, expected: Expected) -> float:
        """Percent of predictions that must be equal.

        The bound, or what the evaluator's two sets of kernels agree on, less three standard errors of the
        difference of two such shares.
        """
        reproducible = expected.reproducible
        if reproducible is None:
            return self.equal
        chance = CHANCE * math.sqrt(2.0) * standard_error(reproducible, len(expected.labels))
        return min(self.equal, reproducible - chance)
