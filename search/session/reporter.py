"""Reporters: who is told what a long piece of work is doing, and how far it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from bitfront.evaluators.progress import ShareDone
from bitfront.search.engine.protocols import SearchObserver
from bitfront.spaces.quantities import count_of

logger = logging.getLogger(__name__)
# Takes what is being done and the share of it that is done, from 0 to 1.
ProgressCallback = Callable[[str, float], None]


@runtime_checkable
class Reporter(Protocol):
    """Is told of the steps of a long piece of work; the command line draws bars, a notebook what it likes."""

    def stage(self, text: str) -> AbstractContextManager[ShareDone]:
        """A step, for as long as the block runs; the value takes the share of it that is done."""

    def search(self, evaluations: int) -> AbstractContextManager[SearchObserver]:
        """A search of at most so many evaluations, for as long as the block runs."""

    def note(self, text: str) -> None:
        """Something that the user must know."""


class CallbackReporter:
    """Tells a function of what is being done; notes are logged.

    Args:
        callback: Takes a text and a share from 0 to 1; None to tell nobody.
    """

    def __init__(self, callback: ProgressCallback | None = None) -> None:
        self._callback = callback

    def _tell(self, text: str, share: float) -> None:
        if self._callback is not None:
            self._callback(text, share)

    @contextmanager
    def stage(self, text: str) -> Iterator[ShareDone]:
        """Tells of a step from 0 to 1."""
        logger.info("%s", text)
        self._tell(text, 0.0)
        yield lambda share: self._tell(text, share)
        self._tell(text, 1.0)

    @contextmanager
    def search(self, evaluations: int) -> Iterator[SearchObserver]:
        """Tells of every evaluation as the share of the budget that is spent."""
        text = f"searching, {count_of(evaluations, 'evaluation')}"
        yield lambda at, _: self._tell(text, min(1.0, at.evaluations / max(1, at.evaluations_budget)))

    def note(self, text: str) -> None:
        """Logs it."""
        logger.info("%s", text)


def reporter_of(progress: Reporter | ProgressCallback | None) -> Reporter:
    """The reporter that an argument ``progress`` stands for: itself, a function, or nobody."""
    return progress if isinstance(progress, Reporter) else CallbackReporter(progress)
