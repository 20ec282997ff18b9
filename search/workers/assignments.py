"""Assignments: which worker holds which candidates, and which of them failed when a worker is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers.task import Phase

ATTEMPTS = 2
_MORE_MEMORY = "give workers more with --worker-memory, or use fewer --workers or a smaller --batch-size"


@dataclass(frozen=True)
class FailedAttempt:
    """A failed attempt.

    Attributes:
        reason: What happened.
        remedy: What the user may do about it.
    """

    reason: str
    remedy: str

    @classmethod
    def died(cls) -> FailedAttempt:
        """The worker's process ended, and nobody said why."""
        return cls("its worker died", "the machine may be short of memory: use fewer --workers")

    @classmethod
    def too_large(cls, limit_bytes: int | None) -> FailedAttempt:
        """The worker was ended for taking more memory than it may."""
        if limit_bytes is None:
            return cls("its worker took more memory than it may", _MORE_MEMORY)
        size = f"{limit_bytes / 1e9:.1f} GB" if limit_bytes >= 1e9 else f"{limit_bytes / 1e6:.0f} MB"
        return cls(f"its worker took more than {size} of memory", _MORE_MEMORY)

    @classmethod
    def out_of_memory(cls, message: str) -> FailedAttempt:
        """An allocation failed within the evaluation."""
        return cls(f"memory ran out ({message})", _MORE_MEMORY)

    @classmethod
    def unanswered(cls, message: str) -> FailedAttempt:
        """Dask lost the answer, or never had one."""
        return cls(
            f"Dask did not bring its result ({message})", "see the logs of the scheduler and the worker"
        )

    @classmethod
    def hung(cls, reason: str) -> FailedAttempt:
        """The evaluation took too long."""
        return cls(reason, "allow more with --evaluation-timeout")


def failure_of(failures: Sequence[FailedAttempt]) -> EvaluationFailure:
    """The failure of a candidate whose attempts are used up, in one sentence."""
    reasons = [failure.reason for failure in failures]
    what = f"{reasons[0]}, twice" if len(set(reasons)) == 1 else "; tried again, ".join(reasons)
    return EvaluationFailure(f"{what}; {failures[-1].remedy}")


@dataclass(eq=False)
class Submission:
    """A candidate that was submitted and has no answer yet.

    Attributes:
        key: Of the coordinator.
        config_json: JSON of the bit configuration.
        required: See :meth:`bitfront.search.engine.protocols.AccuracyPool.submit`.
        failures: Its failed attempts.
    """

    key: int
    config_json: str
    required: float | None
    failures: list[FailedAttempt] = field(default_factory=list)


@dataclass(eq=False)
class Attempt:
    """A candidate that was sent to a worker.

    Attributes:
        number: Of this attempt alone.
        submission: The candidate.
        phase: What the worker last announced, or that it has announced nothing.
        since: Monotonic time of that, in seconds.
    """

    number: int
    submission: Submission
    phase: Phase | Literal["sent"]
    since: float


@dataclass
class WorkerSlot:
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


class Assignments:
    """Hands candidates to workers and takes them back from those that are lost.

    The loss of a worker counts as a failed attempt of the candidate that it was evaluating, not of those that
    waited there. A candidate with a failed attempt is tried again on a worker that holds nothing else, so
    that a second loss is its own doing beyond doubt.
    """

    def __init__(self) -> None:
        # The workers by address.
        self.slots: dict[str, WorkerSlot] = {}
        self._waiting: deque[Submission] = deque()
        self._attempts = 0

    def add(self, submission: Submission) -> None:
        """Queues a candidate."""
        self._waiting.append(submission)

    def add_worker(self, address: str, nanny: bool, prepared: bool = False) -> None:
        """Lets a worker take part."""
        self.slots[address] = WorkerSlot(address, nanny, prepared=prepared)

    def assign(self, depth: int, now: float) -> Iterator[tuple[str, Attempt]]:
        """Hands waiting candidates out, up to ``depth`` to a worker; yields what is to be sent where."""
        while self._waiting:
            submission = self._waiting[0]
            alone = bool(submission.failures)
            free = [slot for slot in self.slots.values() if _takes(slot, 1 if alone else depth)]
            if not free:
                return
            self._waiting.popleft()
            slot = min(free, key=lambda slot: len(slot.held))
            self._attempts += 1
            attempt = Attempt(self._attempts, submission, "sent", now)
            slot.held.append(attempt)
            yield slot.address, attempt

    def find(self, number: int) -> tuple[WorkerSlot, Attempt] | None:
        """The worker that holds an attempt, and the attempt."""
        for slot in self.slots.values():
            for attempt in slot.held:
                if attempt.number == number:
                    return slot, attempt
        return None

    def settle(self, slot: WorkerSlot, attempt: Attempt, now: float) -> None:
        """Takes an answered attempt off its worker, which is at the next one from now on."""
        slot.held.remove(attempt)
        slot.prepared = True
        if slot.running is not None and slot.running.phase == "sent":
            slot.running.since = now

    def remove_worker(self, address: str, failure: FailedAttempt | None) -> WorkerSlot:
        """Removes a worker; what it held waits again, first in the queue.

        Args:
            address: Of the worker.
            failure: What the candidate that it was evaluating failed of; None where it is not to blame.

        Returns:
            What the worker held.
        """
        slot = self.slots.pop(address)
        running = slot.running
        if running is not None and failure is not None:
            running.submission.failures.append(failure)
        self._waiting.extendleft(attempt.submission for attempt in reversed(slot.held))
        return slot

    def retry(self, submission: Submission) -> None:
        """Puts a candidate first in the queue."""
        self._waiting.appendleft(submission)

    def given_up(self) -> list[Submission]:
        """Takes the candidates out of the queue whose attempts are used up."""
        found = [submission for submission in self._waiting if len(submission.failures) >= ATTEMPTS]
        for submission in found:
            self._waiting.remove(submission)
        return found

    def withdraw(self, submission: Submission) -> None:
        """Takes a candidate out of the queue, if it is there: it was answered after all."""
        if submission in self._waiting:
            self._waiting.remove(submission)


def _takes(slot: WorkerSlot, depth: int) -> bool:
    if slot.closed or slot.paused or len(slot.held) >= depth:
        return False
    return not any(attempt.submission.failures for attempt in slot.held)
