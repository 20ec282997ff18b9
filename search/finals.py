"""Final figures of a finished front: test accuracy and whole-model latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bitfront.search.preparation import eight_bit_config
from bitfront.search.references import References
from bitfront.search.run_tables import FinalMeasurement
from bitfront.search.trial import Trial
from bitfront.spaces import SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.context import EvaluationContext

ShareDone = Callable[[float], None]


def held_out_accuracies(
    context: EvaluationContext, space: SearchSpace, front: Sequence[Trial], share_done: ShareDone
) -> dict[int, float]:
    """Top-1 on the test split, in percent, by trial number."""
    found: dict[int, float] = {}
    for done, trial in enumerate(front, start=1):
        config = space.decode(np.array(trial.genome, dtype=np.int64))
        found[trial.number] = context.accuracy(config, "test").top1
        share_done(done / len(front))
    return found


def whole_latencies(
    context: EvaluationContext,
    space: SearchSpace,
    front: Sequence[Trial],
    batch: int,
    share_done: ShareDone,
) -> tuple[dict[int, float], float, float]:
    """Whole-model latencies in milliseconds, all measured in turn with nothing else running.

    Returns:
        By trial number, and those of the float and the uniform 8-bit model.
    """
    from bitfront.evaluators.latency.measured import measure_models

    configs = [space.decode(np.array(trial.genome, dtype=np.int64)) for trial in front]
    float_entry, entries = measure_models(
        context.prepared,
        context.model.module,
        [eight_bit_config(context), *configs],
        batch,
        progress=share_done,
    )
    times = [entry.milliseconds for entry in entries]
    return dict(zip((t.number for t in front), times[1:], strict=True)), float_entry.milliseconds, times[0]


def completed_references(
    context: EvaluationContext, references: References, float_ms: float, eight_bit_ms: float
) -> References:
    """The references with their test accuracy and whole-model latency."""
    eight = context.accuracy(eight_bit_config(context), "test").top1
    return dataclasses.replace(
        references,
        float_model=dataclasses.replace(
            references.float_model,
            latency_measured_ms=float_ms,
            test_top1=context.float_accuracy("test").top1,
        ),
        eight_bit=dataclasses.replace(
            references.eight_bit, latency_measured_ms=eight_bit_ms, test_top1=eight
        ),
    )


def final_measurements(top1: dict[int, float], latency: dict[int, float]) -> dict[int, FinalMeasurement]:
    """The final columns of the tables by trial number."""
    return {number: FinalMeasurement(latency.get(number), top1.get(number)) for number in top1}
