"""What the engine speaks: samplers, pools that evaluate, and observers that are told of progress."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.problem import Candidate
from bitfront.search.problem.trial import EvaluationFailure, Trial
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.tasks.quality import Quality

GenomeTuple = tuple[int, ...]
logger = logging.getLogger(__name__)
Completed = tuple[int, "Quality | EvaluationFailure"]


class Sampler(Protocol):
    """Proposes candidates; what it asks for depends on its seed and on what it was told alone."""

    @property
    def lag(self) -> int:
        """Batches that may be unfinished when the next one is asked for.

        With 0, all workers wait for the last candidate of a batch; with 1, they have another batch meanwhile,
        which was chosen without knowing this one's results.
        """

    def ask(self) -> list[GenomeTuple]:
        """The next batch, none of it asked for before; empty when every genome has been asked for."""

    def tell(self, trials: Sequence[Trial]) -> None:
        """The finished trials of the oldest batch that was not told yet, in the order of asking."""


@runtime_checkable
class LearnsFromKnown(Protocol):
    """A sampler that learns from trials which it did not ask for, before it asks for the first."""

    def take(self, trials: Sequence[Trial]) -> None:
        """Takes trials in; their genomes are not asked for."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        evaluations: Distinct configurations evaluated so far.
        evaluations_budget: How many there may be.
        generation: Batches finished.
        front: The front so far, by size.
        objectives: Its axes.
        trials: Trials so far, with rejected and failed ones.
        hypervolume: Share of the fixed box that the front dominates, from 0 to 1; higher is better.
        elapsed_s: Search time so far in seconds, that of interrupted parts included.
        remaining_s: Estimated search time left in seconds; None while there is no ground for it.
    """

    evaluations: int
    evaluations_budget: int
    generation: int
    front: tuple[Trial, ...]
    trials: int
    hypervolume: float
    elapsed_s: float
    remaining_s: float | None
    objectives: tuple[Objective, ...] = ()


# Is told of a search's progress in the coordinating process: after every evaluation, in the order of
# completion, with its trial; after every batch, and once when the search has ended, with None.
SearchObserver = Callable[[Progress, Trial | None], None]


class AccuracyPool(Protocol):
    """Evaluates configurations, several at a time."""

    @property
    def capacity(self) -> int:
        """How many candidates it takes before it has returned a result."""

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:
        """Hands a candidate over; ``key`` comes back with its result.

        Args:
            key: Of this candidate alone.
            config: What is evaluated.
            required: Points of images decided right above the float model that the candidate must be able to
                reach for its evaluation to be worth finishing; None to finish it in any case.
        """

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result in any order, or None when none arrives within ``timeout`` seconds."""

    def close(self) -> None:
        """Ends the workers, and whatever they are still evaluating."""


class TrialRecord(Protocol):
    """Keeps the trials of a search; what it has is never evaluated again."""

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The finished trials by number."""

    def begin(self, candidate: Candidate) -> int:
        """Notes that a candidate is about to be evaluated; returns its trial's number."""

    def reject(self, candidate: Candidate, elapsed_s: float) -> Trial:
        """Records a candidate that is not evaluated, because it violates a constraint as it is."""

    def finish(self, trial: Trial) -> None:
        """Records the result of a trial that was begun; it is kept for good when this returns."""


class InlinePool:
    """Evaluates in this process, one candidate at a time, when its result is asked for.

    Args:
        evaluate: Scores a configuration, given what it must be able to reach (see
            :meth:`AccuracyPool.submit`); an exception counts as that candidate's failure.
    """

    capacity = 1

    def __init__(self, evaluate: Callable[[BitConfig, float | None], Quality]) -> None:
        self._evaluate = evaluate
        self._waiting: deque[tuple[int, BitConfig, float | None]] = deque()

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:
        """Queues a candidate."""
        self._waiting.append((key, config, required))

    def next_completed(self, timeout: float) -> Completed | None:  # noqa: ARG002 - part of the protocol
        """Evaluates the longest waiting candidate; None when none waits."""
        if not self._waiting:
            return None
        key, config, required = self._waiting.popleft()
        try:
            return key, self._evaluate(config, required)
        except Exception as error:
            logger.warning("evaluating %s failed", config.digest, exc_info=True)
            return key, EvaluationFailure.of(error)

    def close(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()
