"""Assignments: which worker holds which candidates, and which of them failed when a worker is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bitfront.search.problem.trial import (
    EvaluationFailure,
)
from bitfront.search.workers.task import Phase

ATTEMPTS = 2
_MORE_MEMORY = "give workers more with --worker-memory, or use fewer --workers or a smaller --batch-size"


@dataclass(frozen=True)
class Charge:
    """A failed attempt.

    Attributes:
        reason: What happened.
        remedy: What the user may do about it.
    """

    reason: str
    remedy: str

    @classmethod
    def died(cls) -> Charge:
        """The worker's process ended, and nobody said why."""
        return cls("its worker died", "the machine may be short of memory: use fewer --workers")

    @classmethod
    def too_large(cls, limit_bytes: int | None) -> Charge:
        """The worker was ended for taking more memory than it may."""
        amount = "more memory than it may" if limit_bytes is None else f"more than {_shown(limit_bytes)}"
        return cls(f"its worker took {amount}", _MORE_MEMORY)

    @classmethod
    def out_of_memory(cls, message: str) -> Charge:
        """An allocation failed within the evaluation."""
        return cls(f"memory ran out ({message})", _MORE_MEMORY)

    @classmethod
    def unanswered(cls, message: str) -> Charge:
        """Dask lost the answer, or never had one."""
        return cls(
            f"Dask did not bring its result ({message})", "see the logs of the scheduler and the worker"
        )

    @classmethod
    def hung(cls, reason: str) -> Charge:
        """The evaluation took too long."""
        return cls(reason, "allow more with --evaluation-timeout")


def failure_of(charges: Sequence[Charge]) -> EvaluationFailure:
    """The failure of a candidate whose attempts are used up, in one sentence."""
    reasons = [charge.reason for charge in charges]
    what = f"{reasons[0]}, twice" if len(set(reasons)) == 1 else "; tried again, ".join(reasons)
    return EvaluationFailure(f"{what}; {charges[-1].remedy}")


def _shown(size_bytes: int) -> str:
    size = f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
    return f"{size} of memory"


@dataclass(eq=False)
class Candidate:
    """A candidate on its way.

    Attributes:
        key: Of the coordinator.
        config_json: JSON of the bit configuration.
        required: See :meth:`bitfront.search.engine.protocols.AccuracyPool.submit`.
        charges: Its failed attempts.
    """

    key: int
    config_json: str
    required: float | None
    charges: list[Charge] = field(default_factory=list)


@dataclass(eq=False)
class Attempt:
    """A candidate that was sent to a worker.

    Attributes:
        number: Of this attempt alone.
        candidate: Whose.
        phase: What the worker last announced, or that it has announced nothing.
        since: Monotonic time of that, in seconds.
    """

    number: int
    candidate: Candidate
    phase: Phase | Literal["sent"]
    since: float


@dataclass
class Seat:
    """A worker that may hold candidates.

    Attributes:
        address: Of the worker.
        nanny: Whether something restarts its process.
        held: What it was sent and has not answered, in order.
        prepared: Whether it has nothing to prepare, or has done so.
        paused: Whether it gets nothing for the moment.
        closed: Whether it gets nothing more.
    """

    address: str
    nanny: bool
    held: list[Attempt] = field(default_factory=list)
    prepared: bool = False
    paused: bool = False
    closed: bool = False

    @property
    def running(self) -> Attempt | None:
        """What it is at: what it announced last, else what it was sent first."""
        announced = [attempt for attempt in self.held if attempt.phase != "sent"]
        return max(announced, key=lambda attempt: attempt.since, default=next(iter(self.held), None))


class Roster:
    """Hands candidates to workers and takes them back from those that are lost.

    A candidate is charged for a worker that is lost while being at it; what merely waited there is not. One
    that has been charged is tried again on a worker that holds nothing else, so that a second loss is its own
    doing beyond doubt.
    """

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self._waiting: deque[Candidate] = deque()
        self._attempts = 0

    @property
    def seats(self) -> dict[str, Seat]:
        """The workers by address."""
        return self._seats

    def add(self, candidate: Candidate) -> None:
        """Queues a candidate."""
        self._waiting.append(candidate)

    def seat(self, address: str, nanny: bool, prepared: bool = False) -> None:
        """Lets a worker take part."""
        self._seats[address] = Seat(address, nanny, prepared=prepared)

    def assign(self, depth: int, now: float) -> Iterator[tuple[str, Attempt]]:
        """Hands waiting candidates out, up to ``depth`` to a worker; yields what is to be sent where."""
        while self._waiting:
            candidate = self._waiting[0]
            alone = bool(candidate.charges)
            free = [seat for seat in self._seats.values() if _takes(seat, 1 if alone else depth)]
            if not free:
                return
            self._waiting.popleft()
            seat = min(free, key=lambda seat: len(seat.held))
            self._attempts += 1
            attempt = Attempt(self._attempts, candidate, "sent", now)
            seat.held.append(attempt)
            yield seat.address, attempt

    def find(self, number: int) -> tuple[Seat, Attempt] | None:
        """The worker that holds an attempt, and the attempt."""
        for seat in self._seats.values():
            for attempt in seat.held:
                if attempt.number == number:
                    return seat, attempt
        return None

    def settle(self, seat: Seat, attempt: Attempt, now: float) -> None:
        """Takes an answered attempt off its worker, which is at the next one from now on."""
        seat.held.remove(attempt)
        seat.prepared = True
        if seat.running is not None and seat.running.phase == "sent":
            seat.running.since = now

    def dismiss(self, address: str, charge: Charge | None) -> Seat:
        """Takes a worker off the roster; what it held waits again, first in the queue.

        Args:
            address: Of the worker.
            charge: What the candidate that it was at is charged with; None where nobody is to blame.

        Returns:
            What the worker held.
        """
        seat = self._seats.pop(address)
        running = seat.running
        if running is not None and charge is not None:
            running.candidate.charges.append(charge)
        self._waiting.extendleft(attempt.candidate for attempt in reversed(seat.held))
        return seat

    def retry(self, candidate: Candidate) -> None:
        """Puts a candidate first in the queue."""
        self._waiting.appendleft(candidate)

    def given_up(self) -> list[Candidate]:
        """Takes the candidates out of the queue whose attempts are used up."""
        found = [candidate for candidate in self._waiting if len(candidate.charges) >= ATTEMPTS]
        for candidate in found:
            self._waiting.remove(candidate)
        return found

    def withdraw(self, candidate: Candidate) -> None:
        """Takes a candidate out of the queue, if it is there: it was answered after all."""
        if candidate in self._waiting:
            self._waiting.remove(candidate)


def _takes(seat: Seat, depth: int) -> bool:
    if seat.closed or seat.paused or len(seat.held) >= depth:
        return False
    return not any(attempt.candidate.charges for attempt in seat.held)
