"""Final figures of a finished front: test quality and whole-model latency."""

from __future__ import annotations

import dataclasses
import functools
import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.engine.kept_pool import known_or_made
from bitfront.search.problem.references import References
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.tables import FinalMeasurement
from bitfront.search.session.inputs import eight_bit_config
from bitfront.spaces import BitfrontError, SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.context.kept_evaluations import KeptEvaluations
    from bitfront.evaluators.latency.timed_runtime import TimedRuntime
    from bitfront.evaluators.tasks.quality import Quality

logger = logging.getLogger(__name__)


# Quality on the test split, and the paired standard error of its difference to the float model's in the
# metric that the front is judged by, where counts of images do not tell that.
Tested = tuple["Quality", "float | None"]


class WholeLatencies(NamedTuple):
    """Times of whole models in milliseconds.

    Attributes:
        by_trial: By trial number.
        float_ms: Of the float model.
        eight_bit_ms: Of the uniform 8-bit model.
        noise: Their median standard error, as a share of them.
    """

    by_trial: dict[int, float]
    float_ms: float
    eight_bit_ms: float
    noise: float


def held_out_qualities(
    context: EvaluationContext,
    space: SearchSpace,
    front: Sequence[Trial],
    metric: Metric,
    share_done: ShareDone,
    kept: KeptEvaluations | None = None,
) -> tuple[dict[int, Tested], dict[int, str]]:
    """Qualities on the test split, and why there is none, by trial number.

    Args:
        context: The prepared model and its data.
        space: The search space.
        front: What is measured.
        metric: By which the front is judged.
        share_done: Is told the share that is done.
        kept: Evaluations on the test split that the cache has; None where they are not shared.
    """
    found: dict[int, Tested] = {}
    failures: dict[int, str] = {}
    for done, trial in enumerate(front, start=1):
        config = space.decode(np.array(trial.genome, dtype=np.int64))
        try:
            counted = metric.name == context.task.counted
            if counted:
                quality = known_or_made(kept, config, functools.partial(context.quality, config, "test"))
                found[trial.number] = quality, None
            else:  # the error needs the outputs, which are not kept
                quality, errors = context.quality_with_errors(config, "test", (metric,))
                found[trial.number] = quality, errors[metric.name].difference
        except BitfrontError as error:
            logger.warning("trial %d (%s) failed on the test split: %s", trial.number, trial.digest, error)
            failures[trial.number] = str(error)
        share_done(done / len(front))
    return found, failures


def whole_latencies(
    context: EvaluationContext,
    timer: TimedRuntime,
    space: SearchSpace,
    front: Sequence[Trial],
    batch: int,
    share_done: ShareDone,
) -> WholeLatencies:
    """Whole-model latencies, all measured in pairs with the float model and with nothing else running.

    Args:
        context: The prepared model.
        timer: What runs the models.
        space: The search space.
        front: What is measured.
        batch: Images of a batch.
        share_done: Is told the share that is done.
    """
    from bitfront.evaluators.latency.measured import measure_models
    from bitfront.evaluators.latency.timed_runtime import Subject

    configs = [space.decode(np.array(trial.genome, dtype=np.int64)) for trial in front]
    float_entry, entries = measure_models(
        timer,
        Subject(context.prepared, context.model.module),
        [eight_bit_config(context), *configs],
        batch,
        progress=share_done,
    )
    times = [entry.milliseconds for entry in entries]
    by_trial = dict(zip((trial.number for trial in front), times[1:], strict=True))
    errors = [entry.relative_error for entry in (float_entry, *entries)]
    return WholeLatencies(by_trial, float_entry.milliseconds, times[0], statistics.median(errors))


def completed_references(
    context: EvaluationContext,
    references: References,
    float_ms: float,
    eight_bit_ms: float,
    kept: KeptEvaluations | None = None,
) -> References:
    """The references with their test quality and whole-model latency.

    Args:
        context: The prepared model and its data.
        references: On the search split.
        float_ms: Latency of the whole float model, in milliseconds.
        eight_bit_ms: That of the whole uniform 8-bit model.
        kept: Evaluations on the test split that the cache has; None where they are not shared.
    """
    config = eight_bit_config(context)
    eight = known_or_made(kept, config, lambda: context.quality(config, "test"))
    whole = context.float_quality("test")
    known: dict[str, Any] = {"test_images": whole.images}
    return References(
        dataclasses.replace(
            references.float_model,
            latency_measured_ms=float_ms,
            test_values=whole.values,
            test_right=whole.right,
            **known,
        ),
        dataclasses.replace(
            references.eight_bit,
            latency_measured_ms=eight_bit_ms,
            test_values=eight.values,
            test_lost=eight.lost,
            test_won=eight.won,
            test_right=eight.right,
            **known,
        ),
    )


def final_measurements(
    tested: Mapping[int, Tested], latency: Mapping[int, float], stands_for: Mapping[int, int] | None = None
) -> dict[int, FinalMeasurement]:
    """The final columns of the tables by trial number."""
    standing, found = stands_for or {}, dict[int, FinalMeasurement]()
    for number in dict.fromkeys((*standing, *latency, *tested)):
        quality, error = tested.get(number, (None, None))
        found[number] = FinalMeasurement(latency.get(number), quality, error, standing.get(number))
    return found
