"""A pool in front of another one: what is known is not evaluated."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bitfront.evaluators.context.screening import hopeless
from bitfront.search.engine.protocols import AccuracyPool, Completed
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.tasks.quality import Quality


class AnsweringPool(ABC):
    """Answers for configurations whose quality is known, and hands the others on.

    Args:
        pool: Evaluates.
    """

    def __init__(self, pool: AccuracyPool) -> None:
        self._pool = pool
        self._ready: deque[Completed] = deque()

    @abstractmethod
    def known(self, config: BitConfig, required: float | None) -> Quality | None:
        """What an evaluation would come to; None where that is not known."""

    def hand_on(self, key: int, config: BitConfig, required: float | None) -> None:
        """Gives a candidate to the pool that evaluates."""
        self._pool.submit(key, config, required)

    def evaluated(self, timeout: float) -> Completed | None:
        """The next result of that pool."""
        return self._pool.next_completed(timeout)

    @property
    def capacity(self) -> int:
        """That of the pool that evaluates."""
        return self._pool.capacity

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:
        """Takes a candidate; one that is known is ready at once."""
        quality = self.known(config, required)
        if quality is None:
            self.hand_on(key, config, required)
        else:
            self._ready.append((key, dataclasses.replace(quality, known=True)))

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result: one that is known, else the pool's."""
        return self._ready.popleft() if self._ready else self.evaluated(timeout)

    def close(self) -> None:
        """Ends the pool that evaluates."""
        self._pool.close()


class KnownPool(AnsweringPool):
    """Answers by qualities that are given.

    One that was given up on a part of the images is known where what it must reach now is out of its reach,
    too, by the same rule; else it is evaluated whole.

    Args:
        pool: Evaluates.
        known: Qualities on the search split by digest.
        images: Images of that split.
    """

    def __init__(self, pool: AccuracyPool, known: Mapping[str, Quality], images: int) -> None:
        super().__init__(pool)
        self._known, self._images = known, images

    def known(self, config: BitConfig, required: float | None) -> Quality | None:
        """See :class:`AnsweringPool`."""
        quality = self._known.get(config.digest)
        if quality is None or quality.images >= self._images:
            return quality
        return quality if required is not None and hopeless(quality, required) else None
