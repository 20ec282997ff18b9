"""The budget of a search: evaluations and wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Counts what a search has spent.

    Args:
        evaluations: Distinct evaluations that may be paid for.
        seconds: Search time that may pass; None for any.
        spent_s: Search time that earlier, interrupted parts took.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        evaluations: int,
        seconds: float | None = None,
        spent_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if evaluations < 1:
            raise ValueError("a budget has at least one evaluation")
        self.evaluations = evaluations
        self._seconds = seconds
        self._clock = clock
        self._start = clock() - spent_s
        self._spent_before = spent_s
        self._asked = 0

    @property
    def elapsed_s(self) -> float:
        """Search time so far, in seconds."""
        return self._clock() - self._start

    @property
    def evaluations_left(self) -> bool:
        """Whether another evaluation may be paid for."""
        return self._asked < self.evaluations

    @property
    def time_left(self) -> bool:
        """Whether there is search time left to begin an evaluation."""
        return self._seconds is None or self.elapsed_s < self._seconds

    def spend(self) -> None:
        """Takes one evaluation, in the order of asking; one recorded by an earlier part counts too."""
        self._asked += 1

    def remaining_s(self, done: int, done_now: int) -> float | None:
        """Estimated search time left in seconds; None before the first evaluation of this part.

        Args:
            done: Evaluations finished, recorded ones included.
            done_now: Evaluations finished in this part of the search.
        """
        if not done_now:
            return None
        each = (self.elapsed_s - self._spent_before) / done_now
        estimate = max(0, self.evaluations - done) * each
        return estimate if self._seconds is None else max(0.0, min(estimate, self._seconds - self.elapsed_s))
