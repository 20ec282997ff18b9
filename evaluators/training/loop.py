"""The loop of every training: epochs of batches, from a position that may be in the middle of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

Found = TypeVar("Found")


class Course(Protocol[Found]):
    """What is trained on what, a batch at a time."""

    @property
    def epochs(self) -> int:
        """Passes over the images."""

    def batches(self, epoch: int, start: int) -> Iterator[Found]:
        """The batches of an epoch in their order, from the one at ``start``; the first epoch is 0."""

    def learn(self, batch: Found) -> tuple[float, int]:
        """Makes a step; returns the mean loss of an image and the images."""


@dataclass
class Position:
    """How far a training is.

    Attributes:
        epoch: Epochs that are done.
        step: Steps of the next one that are done.
        total: Sum of the losses of their images.
        images: Images of these steps.
        rows: What was written down after each epoch, by column.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    images: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)

    def to_state(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "rows": [dict(row) for row in self.rows]}


def _unwatched() -> None:
    """A step that nobody waits for."""


def epochs_of(
    course: Course[Found], position: Position | None = None, after_step: Callable[[], None] = _unwatched
) -> Iterator[float]:
    """Trains; yields the mean loss of an image after every epoch.

    Args:
        course: What is trained.
        position: Where it begins; it is kept up to date. None for the beginning.
        after_step: Is called after each step.
    """
    position = position or Position()
    while position.epoch < course.epochs:
        for batch in course.batches(position.epoch, position.step):
            loss, count = course.learn(batch)
            position.total += loss * count
            position.images += count
            position.step += 1
            after_step()
        mean = position.total / max(1, position.images)
        position.epoch, position.step, position.total, position.images = position.epoch + 1, 0, 0.0, 0
        yield mean
