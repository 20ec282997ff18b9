"""A pool in front of another one: what the cache has of earlier runs is taken, and new evaluations kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitfront.evaluators.context.screening import growing, hopeless
from bitfront.search.engine.known_pool import AnsweringPool
from bitfront.search.engine.protocols import AccuracyPool, Completed
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bitfront.evaluators.context.kept_evaluations import KeptEvaluations
    from bitfront.evaluators.tasks.quality import Quality


@dataclass(frozen=True)
class LookingOn:
    """How an evaluation goes through the images: after each step it may be given up.

    Attributes:
        first_images: Of the first step.
        whole: Images of the split.
        batch_size: Steps end with whole batches.
        float_right: Which images the float model gets right, packed; empty where that is not known.
    """

    first_images: int
    whole: int
    batch_size: int
    float_right: str = ""

    def end(self, quality: Quality, required: float | None) -> int | None:
        """After how many images an evaluation of the same configuration would end.

        Args:
            quality: What is known of it, on as many images or more.
            required: What it must be able to reach; None to see every image.

        Returns:
            None where the quality does not tell.
        """
        if required is None:
            return self.whole
        flags = _flags(quality, self.float_right, self.whole)
        for stop in growing(self.first_images, self.whole, self.batch_size):
            if stop == self.whole:
                return stop
            if flags is None or stop > quality.images:
                return None
            right, whole_right = (found[:stop] for found in flags)
            seen = dataclasses.replace(
                quality,
                images=stop,
                lost=int((whole_right & ~right).sum()),
                won=int((right & ~whole_right).sum()),
            )
            if hopeless(seen, required):
                return stop
        return None  # not reached: the last step is the whole split


class KeptPool(AnsweringPool):
    """Answers for what the cache knows of the same evaluation, hands the rest on, and keeps what comes back.

    What is taken is exactly what an evaluation would have come to, on as many images: one that would be given
    up on the way is known where it was given up there, and one that would not where it saw all of them. So a
    seed leads to the same trials whatever the cache holds.

    Args:
        pool: Evaluates.
        kept: The evaluations.
        looking_on: How an evaluation goes through the images.
    """

    def __init__(self, pool: AccuracyPool, kept: KeptEvaluations, looking_on: LookingOn) -> None:
        super().__init__(pool)
        self._kept, self._looking_on = kept, looking_on
        self._digests: dict[int, str] = {}

    def known(self, config: BitConfig, required: float | None) -> Quality | None:
        """See :class:`AnsweringPool`."""
        longest = self._kept.longest(config.digest)
        end = None if longest is None else self._looking_on.end(longest, required)
        return None if end is None else self._kept.get(config.digest, end)

    def hand_on(self, key: int, config: BitConfig, required: float | None) -> None:
        """See :class:`AnsweringPool`."""
        self._digests[key] = config.digest
        super().hand_on(key, config, required)

    def evaluated(self, timeout: float) -> Completed | None:
        """See :class:`AnsweringPool`; what comes back is kept."""
        completed = super().evaluated(timeout)
        if completed is not None:
            key, outcome = completed
            digest = self._digests.pop(key)
            if not isinstance(outcome, EvaluationFailure):
                self._kept.add(digest, outcome)
        return completed


def known_or_made(
    kept: KeptEvaluations | None, config: BitConfig, evaluate: Callable[[], Quality]
) -> Quality:
    """The quality of a configuration on all images of a split, from the cache where it is there.

    Args:
        kept: The evaluations on that split; None to evaluate in any case.
        config: The configuration.
        evaluate: Evaluates it.
    """
    known = None if kept is None else kept.get(config.digest, kept.images)
    if known is not None:
        return dataclasses.replace(known, known=True)
    quality = evaluate()
    if kept is not None:
        kept.add(config.digest, quality)
    return quality


def _flags(
    quality: Quality, float_right: str, whole: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Which of the images that were seen this model, and the float model, get right; None where unknown."""
    from bitfront.evaluators.tasks.quality import unpacked

    if not quality.right or not float_right:
        return None
    return unpacked(quality.right, quality.images), unpacked(float_right, whole)[: quality.images]
