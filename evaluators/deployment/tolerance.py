"""What the evaluator says of some images, and how far an exported file may be from it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from bitfront.evaluators.tasks.quality import PairedComparison, standard_error

if TYPE_CHECKING:  # the command line takes its defaults from here without loading numpy
    import numpy as np
    import torch
    from numpy.typing import NDArray

# What was decided: classes [images], or 0 and 1 for each label [images, labels].
Classes: TypeAlias = "NDArray[np.int64]"
# How many standard errors chance may take.
CHANCE = 3.0


@dataclass(frozen=True)
class Expected:
    """What the evaluator makes of the images.

    Attributes:
        predictions: Its decisions, int64: classes ``[images]``, or 0 and 1 for every label
            ``[images, labels]``.
        second: Those of its second set of kernels, which computes the same integers and rounds floats in
            another order, of the same shape; None where it was not asked.
        labels: Of the same shape.
        metrics: Further metrics of these images, which the file is verified by, too.
        class_names: Name of every class, where the data knows them.
        outputs: The evaluator's, float32 ``[images, classes]``; None where they were not kept, as in records.
        recorded: Digests of the outputs by image (:func:`digests_of`), where a record has them.
    """

    predictions: Classes
    second: Classes | None
    labels: Classes
    metrics: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    outputs: torch.Tensor | None = None
    recorded: tuple[str, ...] | None = None

    @property
    def digests(self) -> tuple[str, ...] | None:
        """The digest of the outputs for every image, where they are known."""
        return self.recorded if self.outputs is None else digests_of(self.outputs)

    @property
    def share(self) -> float:
        """Images that the evaluator decides right, in percent."""
        return 100.0 * float(alike(self.predictions, self.labels).mean())

    @property
    def reproducible(self) -> float | None:
        """Images that both sets of kernels decide alike, in percent."""
        return None if self.second is None else 100.0 * float(alike(self.predictions, self.second).mean())


def digests_of(outputs: torch.Tensor) -> tuple[str, ...]:
    """SHA-256 of every image's outputs, float32 little-endian, of outputs ``[images, classes]``."""
    rows = outputs.float().contiguous().cpu().numpy().astype("<f4")
    return tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in rows)


def alike(first: Classes, second: Classes) -> NDArray[np.bool_]:
    """Whether each image is decided alike, bool ``[images]``: in all of its labels."""
    same: NDArray[np.bool_] = (first == second).reshape(len(first), -1).all(1)
    return same


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the evaluator.

    Where codes are rounded from floats, two correct implementations part at ties, and every quantized layer
    behind widens the gap (about as far as quantization itself moves logits). So the bounds give way to what
    is measured of that: the evaluator's own two sets of kernels, and chance.

    Attributes:
        share: Points of the share of images decided right, such as top-1, and of other metrics; a hundredth
            of it of those that are not in percent.
        equal: Least share of equal predictions, in percent.
        exact: Whether every output is to be the evaluator's to the bit instead.
    """

    share: float = 0.3
    equal: float = 99.0
    exact: bool = False

    def largest_difference(self, compared: PairedComparison) -> float:
        """Points that a comparison may show: the bound, or three paired standard errors."""
        if self.exact:
            return 0.0
        return max(self.share, CHANCE * compared.difference_standard_error)

    def least_equal(self, expected: Expected) -> float:
        """Percent of predictions that must be equal.

        The bound, or what the evaluator's two sets of kernels agree on, less three standard errors of the
        difference of two such shares.
        """
        reproducible = expected.reproducible
        if self.exact:
            return 100.0
        if reproducible is None:
            return self.equal
        chance = CHANCE * math.sqrt(2.0) * standard_error(reproducible, len(expected.labels))
        return min(self.equal, reproducible - chance)


# Of files that compute what the evaluator computes, in the same integers.
TO_THE_BIT = Tolerance(0.0, 100.0, exact=True)
