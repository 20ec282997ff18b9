"""What ends a search: evaluations, wall clock, a plateau of the hypervolume, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from bitfront.spaces.quantities import count_of

# Share of itself by which the hypervolume has to grow: less is the noise of single images.
GROWTH = 1e-3
# Evaluations that a pace is taken from, at least.
LEAST_PACED = 3


class Plateau:
    """Notices that the hypervolume has ceased to grow.

    Args:
        evaluations: So many evaluations without growth are a plateau; None for never.
    """

    def __init__(self, evaluations: int | None = None) -> None:
        self._patience = evaluations
        self._grown_at = 0
        self._seen = 0

    def see(self, evaluations: int, share_of: Callable[[int], float]) -> None:
        """Takes what is known after a number of evaluations.

        Args:
            evaluations: So many were made.
            share_of: The hypervolume of the front of the first so many, by what is known now: estimates of
                earlier ones move, which is no growth.
        """
        self._seen = evaluations
        if self._patience is not None and share_of(evaluations) > (1.0 + GROWTH) * share_of(self._grown_at):
            self._grown_at = evaluations

    @property
    def reached(self) -> bool:
        """Whether the last growth is as many evaluations ago."""
        return self._patience is not None and self._seen - self._grown_at >= self._patience

    @property
    def reason(self) -> str:
        """What to say at the end."""
        return (
            f"the hypervolume grew by less than {GROWTH:.1%} of itself in the last "
            f"{count_of(self._seen - self._grown_at, 'evaluation')}"
        )


class Budget:
    """Counts what a search has spent.

    Args:
        evaluations: Distinct evaluations that may be paid for.
        seconds: Search time that may pass; None for any.
        spent_s: Search time that earlier, interrupted parts took.
        plateau: Evaluations without growth of the hypervolume that end the search; None for any number.
    """

    def __init__(
        self, evaluations: int, seconds: float | None = None, spent_s: float = 0.0, plateau: int | None = None
    ) -> None:
        if evaluations < 1:
            raise ValueError("a budget has at least one evaluation")
        self.evaluations = evaluations
        self.plateau = Plateau(plateau)
        self._seconds = seconds
        self._start = time.monotonic() - spent_s
        self._asked = 0
        # Evaluations of this part, and the time, since which its pace is taken.
        self._paced_from: tuple[int, float] | None = None

    @property
    def elapsed_s(self) -> float:
        """Search time so far, in seconds."""
        return time.monotonic() - self._start

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

    def remaining_s(self, done: int, done_now: int, at_once: int = 1) -> float | None:
        """Estimated search time left in seconds; None while there is no ground for one.

        The first evaluations wait for workers that load the model, and those of several workers arrive
        together: the pace is that after as many as are evaluated at a time, once as many again are finished.

        Args:
            done: Evaluations finished, recorded ones included.
            done_now: Evaluations finished in this part of the search.
            at_once: Evaluations that are under way at a time.
        """
        if done_now < at_once:
            return None
        if self._paced_from is None:
            self._paced_from = done_now, self.elapsed_s
        first, since = self._paced_from
        if done_now - first < max(at_once, LEAST_PACED):
            return None
        each = (self.elapsed_s - since) / (done_now - first)
        estimate = max(0, self.evaluations - done) * each
        return estimate if self._seconds is None else max(0.0, min(estimate, self._seconds - self.elapsed_s))


def _numbers() -> list[signal.Signals]:
    closed: signal.Signals | None = getattr(signal, "SIGHUP", None)  # which Windows has not
    listened = closed is not None and signal.getsignal(closed) != signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([closed] if closed is not None and listened else [])]


class InterruptGuard:
    """Turns the first SIGINT, SIGTERM or SIGHUP within a ``with`` block into a flag: no record is cut.

    The second one raises KeyboardInterrupt wherever the program is. A SIGHUP that is ignored, as under
    ``nohup``, stays so: the terminal may be closed. Outside of the main thread, where Python
    delivers no signals, the guard does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._on_interrupt) for number in _numbers()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
