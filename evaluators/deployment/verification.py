"""Verification: an exported file, run where it will be served, against the evaluator on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.context.significance import PairedComparison
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.deployment.tolerance import Classes, Expected, Tolerance
from bitfront.evaluators.progress import ShareDone
from bitfront.spaces import BitfrontError

Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]

BATCH = 8


@dataclass(frozen=True)
class Verification:
    """A file beside the evaluator.

    Attributes:
        compared: The file against the evaluator, by images that only one of them gets right.
        top1: Of the file, in percent.
        expected: What the evaluator says.
        equal: Predictions that are the evaluator's, in percent.
        tolerance: How far they may be apart.
        seconds: What the runtime took for all images.
    """

    compared: PairedComparison
    top1: float
    expected: Expected
    equal: float
    tolerance: Tolerance
    seconds: float

    def faults(self) -> list[str]:
        """What is beyond the tolerance, in words; empty where nothing is."""
        found = []
        largest = self.tolerance.largest_difference(self.compared)
        if abs(self.compared.difference) > largest:
            found.append(
                f"top-1 is {self.compared.difference:+.2f} points from the evaluator's, more than "
                f"{largest:.2f}"
            )
        least = self.tolerance.least_equal(self.expected)
        if self.equal < least:
            found.append(f"{self.equal:.2f} % of predictions are the evaluator's, less than {least:.2f} %")
        return found

    def to_json(self) -> dict[str, Any]:
        """The figures, in percent and points."""
        return {
            **self.compared.to_json(),
            "top1": self.top1,
            "evaluator_top1": self.expected.top1,
            "equal_predictions": self.equal,
            "evaluator_kernels_equal": self.expected.reproducible,
            "largest_top1_difference": self.tolerance.largest_difference(self.compared),
            "least_equal_predictions": self.tolerance.least_equal(self.expected),
            "images_per_second": self.compared.images / self.seconds if self.seconds else None,
            "passed": not self.faults(),
            "faults": self.faults(),
        }


def verify(
    classify: Classify,
    images: Sequence[PreprocessedImages],
    expected: Expected,
    tolerance: Tolerance,
    progress: ShareDone,
) -> Verification:
    """Classifies images by a loaded file and compares its predictions with the evaluator's.

    Args:
        classify: Logits of normalised images.
        images: The splits that ``expected`` is about, in order.
        expected: What the evaluator says.
        tolerance: How far the file may be from it.
        progress: Is told the share that is done.

    Raises:
        BitfrontError: The file's logits are not finite, or not as many as there are classes or images.
    """
    total, done, seconds = len(expected.labels), 0, 0.0
    found: list[Classes] = []
    for batch in (batch.numpy() for split in images for batch, _ in split.batches(BATCH)):
        started = time.perf_counter()
        logits = classify(batch)
        seconds += time.perf_counter() - started
        if logits.ndim != 2 or len(logits) != len(batch) or not np.isfinite(logits).all():
            raise BitfrontError(
                f"the file yields no logits for image {done} on: expected finite numbers [images, classes]"
            )
        found.append(logits.argmax(1))
        done += len(batch)
        progress(done / total)
    predictions = np.concatenate(found)
    right, expected_right = predictions == expected.labels, expected.predictions == expected.labels
    lost, won = int((expected_right & ~right).sum()), int((right & ~expected_right).sum())
    compared = PairedComparison(total, lost, won)
    equal = 100.0 * float((predictions == expected.predictions).mean())
    return Verification(compared, 100.0 * float(right.mean()), expected, equal, tolerance, seconds)
