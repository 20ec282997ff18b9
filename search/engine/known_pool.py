"""A pool in front of another one: what is known is not evaluated."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bitfront.evaluators.context.screening import hopeless
from bitfront.search.engine.protocols import AccuracyPool, Completed
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.tasks.quality import Quality


class KnownPool:
    """Answers for configurations whose quality is known, and hands the others on.

    One that was given up on a part of the images is known where what it must reach now is out of its reach,
    too, by the same rule; else it is evaluated whole.

    Args:
        pool: Evaluates.
        known: Qualities on the search split by digest.
        images: Images of that split.
    """

    def __init__(self, pool: AccuracyPool, known: Mapping[str, Quality], images: int) -> None:
        self._pool, self._known, self._images = pool, known, images
        self._ready: deque[Completed] = deque()

    @property
    def capacity(self) -> int:
        """That of the pool that evaluates."""
        return self._pool.capacity

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:
        """Takes a candidate; one that is known is ready at once."""
        quality = self._known.get(config.digest)
        whole = quality is not None and quality.images >= self._images
        if quality is not None and (whole or (required is not None and hopeless(quality, required))):
            self._ready.append((key, dataclasses.replace(quality, known=True)))
        else:
            self._pool.submit(key, config, required)

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result: one that is known, else the pool's."""
        return self._ready.popleft() if self._ready else self._pool.next_completed(timeout)

    def close(self) -> None:
        """Ends the pool that evaluates."""
        self._pool.close()
