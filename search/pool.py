"""Accuracy pools: where candidates are evaluated, behind submit and next_completed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bitfront.spaces import BitConfig, BitfrontError

if TYPE_CHECKING:
    from bitfront.evaluators.accuracy import Accuracy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationFailure:
    """Why a candidate could not be evaluated, in one line."""

    message: str

    @classmethod
    def of(cls, error: BaseException) -> EvaluationFailure:
        """The failure that an exception stands for; the project's own messages speak for themselves."""
        text = " ".join(str(error).split())
        if text and isinstance(error, BitfrontError):
            return cls(text)
        return cls(f"{type(error).__name__}: {text}" if text else type(error).__name__)


Completed = tuple[int, "Accuracy | EvaluationFailure"]


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
            required: Difference to the float model's top-1, in points, that the candidate must be able to
                reach for its evaluation to be worth finishing; None to finish it in any case.
        """

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result in any order, or None when none arrives within ``timeout`` seconds."""

    def close(self) -> None:
        """Ends the workers, and whatever they are still evaluating."""


class InlinePool:
    """Evaluates in this process, one candidate at a time, when its result is asked for.

    Args:
        evaluate: Scores a configuration, given what it must be able to reach (see
            :meth:`AccuracyPool.submit`); an exception counts as that candidate's failure.
    """

    capacity = 1

    def __init__(self, evaluate: Callable[[BitConfig, float | None], Accuracy]) -> None:
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
