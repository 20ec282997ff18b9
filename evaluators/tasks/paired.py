"""Two models on the same images: how much metrics differ, with paired standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bitfront.evaluators.tasks.metric import Metric, Outputs
from bitfront.evaluators.tasks.quality import resampled, resamplings


class Paired(NamedTuple):
    """A difference in the metric's unit, and its standard error; NaN where that is not known."""

    value: float
    error: float


def paired_differences(outputs: Outputs, others: Outputs, metrics: Sequence[Metric]) -> dict[str, Paired]:
    """By how much metrics of one model are above those of another on the same images.

    Errors are those of the mean of differences by image; of metrics that are no means they come from the same
    resamplings of the images for both models.

    Args:
        outputs: In the form that the metrics compute with.
        others: Those of the other model; labels and float outputs are the same.
        metrics: What is compared.
    """
    found = {}
    for metric in metrics:
        own, base = metric.values_per_image(outputs), metric.values_per_image(others)
        value = metric.value(outputs) - metric.value(others)
        if own is None or base is None:
            count = resamplings(outputs.values.numel())
            draws = resampled(outputs, [metric], count)[0] - resampled(others, [metric], count)[0]
            draws = draws[draws.isfinite()]
            error = float(draws.std()) if len(draws) > 1 else math.nan
        else:
            error = float((own - base).std(correction=0)) / math.sqrt(len(outputs))
        found[metric.name] = Paired(value, error)
    return found
