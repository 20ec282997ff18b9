"""A pool that answers for configurations that were evaluated before, and evaluates the others."""

from __future__ import annotations

from collections import deque

from bitfront.search.comparison.evaluations import SharedEvaluations
from bitfront.search.pool import AccuracyPool, Completed
from bitfront.spaces import BitConfig


class SharingPool:
    """Evaluates what no search has evaluated yet, on all search images, and records it for the others.

    Every candidate is evaluated whole, whatever it must be able to reach: what one search may stop early,
    another one needs.

    Args:
        pool: Evaluates.
        evaluations: What is known.
    """

    def __init__(self, pool: AccuracyPool, evaluations: SharedEvaluations) -> None:
        self._pool = pool
        self._evaluations = evaluations
        self._ready: deque[Completed] = deque()
        self._digests: dict[int, str] = {}

    @property
    def capacity(self) -> int:
        """That of the pool that evaluates."""
        return self._pool.capacity

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:  # noqa: ARG002
        """Takes a candidate; one that is known is ready at once."""
        known = self._evaluations.get(config.digest)
        if known is not None:
            self._ready.append((key, known))
            return
        self._digests[key] = config.digest
        self._pool.submit(key, config)

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result: one that is known, else the pool's."""
        if self._ready:
            return self._ready.popleft()
        completed = self._pool.next_completed(timeout)
        if completed is None:
            return None
        key, outcome = completed
        self._evaluations.add(self._digests.pop(key), outcome)
        return completed

    def close(self) -> None:
        """Ends the pool that evaluates."""
        self._pool.close()
