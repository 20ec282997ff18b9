"""Evaluations that the searches of a user share through the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from bitfront.search.engine.kept_pool import KeptPool, LookingOn
from bitfront.search.session.worker_pool import WorkerOptions
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext, SplitName
    from bitfront.evaluators.context.kept_evaluations import KeptEvaluations
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.search.engine.protocols import AccuracyPool
    from bitfront.search.engine.result import SearchResult


def kept_evaluations(
    context: EvaluationContext, split: SplitName, options: WorkerOptions, note: Callable[[str], None]
) -> KeptEvaluations | None:
    """What the cache has of evaluations like those of a context on a split; None where they are not shared.

    Args:
        context: The prepared model and its data.
        split: What is evaluated on.
        options: Who evaluates.
        note: Is told of damaged entries.
    """
    from bitfront.evaluators.context.identity import evaluation_key
    from bitfront.evaluators.context.kept_evaluations import KeptEvaluations, are_shared

    if not options.share_evaluations or not are_shared(os.environ):
        return None
    metrics = context.task.measured(context.spec.metrics)
    kept = KeptEvaluations.open(evaluation_key(context, split), len(context.images(split)), metrics)
    if kept.damaged:
        note(f"note: {count_of(kept.damaged, 'damaged entry', 'damaged entries')} of {kept.path} left out")
    return kept


def sharing_pool(
    pool: AccuracyPool, kept: KeptEvaluations, spec: EvaluationSpec, float_right: str
) -> AccuracyPool:
    """A pool behind what is known of the search split.

    Args:
        pool: Evaluates.
        kept: What is known.
        spec: Of the evaluations, resolved.
        float_right: Which images of the split the float model decides right, packed.
    """
    assert spec.first_images is not None, "the spec is resolved"
    assert spec.batch_size is not None, "the spec is resolved"
    return KeptPool(pool, kept, LookingOn(spec.first_images, kept.images, spec.batch_size, float_right))


def known_words(result: SearchResult) -> str:
    """How many evaluations of a search were not made by it; empty for none."""
    known = sum(trial.known for trial in result.trials)
    if not known:
        return ""
    made = count_of(result.progress.evaluations, "evaluation")
    return (
        f"{known} of {made} {'was' if known == 1 else 'were'} known from earlier runs, and took no time here"
    )
