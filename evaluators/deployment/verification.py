"""Verification: an exported file, run where it will be served, against the evaluator on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.deployment.tolerance import CHANCE, Classes, Expected, Tolerance, alike, digests_of
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import PairedComparison, standard_errors
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import BitfrontError
from bitfront.spaces.quantities import count_of

Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]

BATCH = 8


@dataclass(frozen=True)
class Verification:
    """A file beside the evaluator.

    Attributes:
        task: What outputs are judged by.
        compared: The file against the evaluator, by images that only one of them gets right.
        share: Images that the file decides right, in percent.
        expected: What the evaluator says.
        equal: Images that are decided as by the evaluator, in percent.
        metrics: Of the file, those that ``expected`` has, with the standard errors of their differences.
        tolerance: How far they may be apart.
        seconds: What the runtime took for all images.
        predictions: What the file decides: classes ``[images]``, or 0 and 1 for each label
            ``[images, labels]``.
        apart: Largest difference of an output to the evaluator's, float32 ``[images]``; None where the
            evaluator's outputs were not kept.
        bit_equal: Images whose outputs are the evaluator's to the bit, where that is asked; else None.
    """

    task: Task
    compared: PairedComparison
    share: float
    expected: Expected
    equal: float
    metrics: Mapping[str, tuple[float, float]]
    tolerance: Tolerance
    seconds: float
    predictions: Classes
    apart: NDArray[np.float32] | None
    bit_equal: int | None = None

    def faults(self) -> list[str]:
        """What is beyond the tolerance, in words; empty where nothing is."""
        if self.tolerance.exact:
            return self._unequal()
        found = []
        largest = self.tolerance.largest_difference(self.compared)
        if abs(self.compared.difference) > largest:
            title = self.task.metric(self.task.counted).title
            found.append(
                f"{title} is {self.compared.difference:+.2f} points from the evaluator's, more than "
                f"{largest:.2f}"
            )
        for name, (value, error) in self.metrics.items():
            metric, difference = self.task.metric(name), value - self.expected.metrics[name]
            points = self.tolerance.share if metric.unit == "%" else self.tolerance.share / 100.0
            allowed = max(points, CHANCE * error)
            if not abs(difference) <= allowed:  # nor where it is not a number
                found.append(
                    f"{metric.title} is {metric.number(difference, '+')} from the evaluator's, more than "
                    f"{metric.number(allowed)}"
                )
        least = self.tolerance.least_equal(self.expected)
        if self.equal < least:
            found.append(f"{self.equal:.2f} % of predictions are the evaluator's, less than {least:.2f} %")
        return found

    def _unequal(self) -> list[str]:
        images = self.compared.images
        if self.bit_equal is None:
            return ["the record has no outputs of the evaluator to compare with: give --rebuild"]
        if self.bit_equal == images:
            return []
        differ = count_of(images - self.bit_equal, "image")
        return [f"the outputs of {differ} of {images:,} are not the evaluator's to the bit"]

    def to_json(self) -> dict[str, Any]:
        """The figures, in percent and points."""
        counted = self.task.counted
        return {
            "task": self.task.name,
            "metrics": list(self.metrics),
            **self.compared.to_json(counted),
            counted: self.share,
            f"evaluator_{counted}": self.expected.share,
            **{name: value for name, (value, _) in self.metrics.items()},
            **{f"evaluator_{name}": value for name, value in self.expected.metrics.items()},
            "equal_predictions": self.equal,
            "evaluator_kernels_equal": self.expected.reproducible,
            f"largest_{counted}_difference": self.tolerance.largest_difference(self.compared),
            "least_equal_predictions": self.tolerance.least_equal(self.expected),
            "to_the_bit": self.tolerance.exact,
            "bit_equal_images": self.bit_equal,
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
    task: Task,
) -> Verification:
    """Classifies images by a loaded file and compares its predictions with the evaluator's.

    Args:
        classify: Logits of normalised images.
        images: The splits that ``expected`` is about, in order.
        expected: What the evaluator says.
        tolerance: How far the file may be from it.
        progress: Is told the share that is done.
        task: What outputs are judged by.

    Raises:
        BitfrontError: The file's logits are not finite, or not as many as there are classes or images.
    """
    total, done, seconds = len(expected.labels), 0, 0.0
    found: list[torch.Tensor] = []
    for batch in (batch.numpy() for split in images for batch, _ in split.batches(BATCH)):
        started = time.perf_counter()
        logits = classify(batch)
        seconds += time.perf_counter() - started
        if logits.ndim != 2 or len(logits) != len(batch) or not np.isfinite(logits).all():
            raise BitfrontError(
                f"the file yields no logits for image {done} on: expected finite numbers [images, classes]"
            )
        found.append(torch.from_numpy(np.ascontiguousarray(logits)))
        done += len(batch)
        progress(done / total)
    outputs = torch.cat(found)
    predictions = task.arithmetic.decisions(outputs).numpy()
    right, expected_right = alike(predictions, expected.labels), alike(expected.predictions, expected.labels)
    lost, won = int((expected_right & ~right).sum()), int((right & ~expected_right).sum())
    compared = PairedComparison(total, lost, won)
    equal = 100.0 * float(alike(predictions, expected.predictions).mean())
    share = 100.0 * float(right.mean())
    metrics = _metrics(task, outputs, expected, images)
    own = expected.outputs
    # A file of other outputs is told by its predictions.
    apart = None if own is None or own.shape != outputs.shape else (outputs - own).abs().amax(1).numpy()
    known = expected.digests if tolerance.exact else None
    bit_equal = None if known is None else sum(map(str.__eq__, digests_of(outputs), known))
    return Verification(
        task, compared, share, expected, equal, metrics, tolerance, seconds, predictions, apart, bit_equal
    )


def _metrics(
    task: Task, outputs: torch.Tensor, expected: Expected, images: Sequence[PreprocessedImages]
) -> dict[str, tuple[float, float]]:
    """Metrics of a file's outputs, with the standard errors of their differences to the evaluator's."""
    if not expected.metrics:
        return {}
    labels, judged = torch.cat([split.labels for split in images]), list(map(task.metric, expected.metrics))
    own = expected.outputs
    beside = Outputs(outputs, outputs if own is None else own, labels, expected.class_names)
    known = task.arithmetic.outputs(beside)
    found = {}
    for name, errors in standard_errors(known, judged).items():
        # Of the difference on the same images, which is smaller, where the evaluator's outputs are known.
        found[name] = task.metric(name).value(known), errors.value if own is None else errors.difference
    return found
