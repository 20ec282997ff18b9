"""The dispatcher: keeps workers busy and sees every candidate through to its answer."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from bitfront.search.engine.protocols import Completed
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers import messages
from bitfront.search.workers.admission import Admission
from bitfront.search.workers.assignments import Assignments, FailedAttempt, Submission, failure_of
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.task import Answer, Evaluate, OutOfMemory, Prepare, Unprepared
from bitfront.search.workers.timeouts import EvaluationClock
from bitfront.spaces import BitfrontError

logger = logging.getLogger(__name__)

# Why a worker was lost is told by its nanny, which may be later than the loss.
GRACE_S = 1.0


@dataclass(frozen=True)
class Job:
    """What workers do.

    Attributes:
        spec_json: Canonical JSON of the evaluation spec.
        evaluate: Scores a configuration.
        prepare: Makes a worker ready for that, once; None where nothing needs to be.
        memory_bytes: Most memory that a worker may take, for messages; None where it is not known.
    """

    spec_json: str
    evaluate: Evaluate
    prepare: Prepare | None
    memory_bytes: int | None = None


class Dispatcher:
    """Keeps workers busy through one connection, and outlives them.

    Args:
        connection: To the scheduler.
        admission: Decides which workers take part.
        clock: Decides which have hung.
        job: What they do.
    """

    def __init__(
        self, connection: Connection, admission: Admission, clock: EvaluationClock, job: Job
    ) -> None:
        self._connection = connection
        self._admission = admission
        self._clock = clock
        self._job = job
        self._assignments = Assignments()
        self._nannies: dict[str, bool] = {}
        self._open: dict[int, Submission] = {}
        self._late: dict[int, tuple[Submission, str]] = {}
        self._short: set[str] = set()
        self._leaving: set[str] = set()
        self._lost: deque[tuple[float, str]] = deque()
        self.done: deque[Completed] = deque()

    @property
    def workers(self) -> int:
        """How many workers take part."""
        return len(self._assignments.slots)

    @property
    def waiting(self) -> bool:
        """Whether a candidate has no answer yet."""
        return bool(self._open)

    def add(self, submission: Submission, now: float) -> None:
        """Takes a candidate over."""
        self._open[submission.key] = submission
        self._assignments.add(submission)
        self._hand_out(now)

    def hear(self, message: messages.Message, now: float) -> None:
        """Acts on what the scheduler or a worker reports."""
        match message:
            case messages.WorkerList():
                self._update(message, now)
            case messages.Described(address=address):
                self._add_worker(address, self._admission.described(message, self._connection))
            case messages.BundleSent(address=address):
                self._add_worker(address, self._admission.bundle_sent(message))
            case messages.Announced(attempt=number, phase=phase, at=at):
                if (found := self._assignments.find(number)) is not None:
                    found[1].phase, found[1].since = phase, at
            case messages.Answered():
                self._answered(message)
            case messages.Short(address=address):
                self._short.add(address)
            case messages.Leaving(address=address):
                self._leaving.add(address)
            case messages.Left(address=address, at=at):
                self._lose(address, at)
            case messages.Restarted(address=address):
                if address not in self._assignments.slots:
                    self._admission.forget(address, now)

    def tend(self, now: float, hung: bool = True) -> None:
        """Does what is due: takes candidates off lost workers, ends hung ones, hands out what waits.

        Args:
            now: Monotonic time in seconds.
            hung: Whether evaluations may count as hung; not while the scheduler passes nothing on.
        """
        while self._lost and self._lost[0][0] <= now:
            self._remove(self._lost.popleft()[1], now)
        if hung:
            self._end_hung(now)
        for submission in self._assignments.given_up():
            self._deliver(submission, failure_of(submission.failures))
        self._hand_out(now)

    def excuse(self, now: float) -> None:
        """Restarts the clocks of all attempts: nothing could be heard of them for a while."""
        for slot in self._assignments.slots.values():
            for attempt in slot.held:
                attempt.since = now

    def disconnect(self) -> None:
        """Takes everything back: the scheduler is lost, and nobody is to blame."""
        for address in list(self._assignments.slots):
            self._assignments.remove_worker(address, None)
        for state in (self._late, self._short, self._leaving, self._lost):
            state.clear()

    def reconnect(self, connection: Connection, admission: Admission) -> None:
        """Goes on through another connection."""
        self._connection, self._admission = connection, admission

    def _update(self, listed: messages.WorkerList, now: float) -> None:
        self._nannies |= listed.nannies
        for address in self._admission.admit(listed, self._connection):
            self._add_worker(address, True)
        for address, slot in self._assignments.slots.items():
            slot.paused = address not in listed.running
            if address not in listed.nannies:
                self._lose(address, now)

    def _add_worker(self, address: str, admitted: bool) -> None:
        if admitted:
            self._assignments.add_worker(address, self._nannies[address], prepared=self._job.prepare is None)
            self._connection.listen_to(address)

    def _lose(self, address: str, at: float) -> None:
        slot = self._assignments.slots.get(address)
        if slot is None:
            self._admission.forget(address, at)
        elif not slot.closed:
            slot.closed = True
            self._lost.append((at + GRACE_S, address))

    def _remove(self, address: str, now: float) -> None:
        """Removes a worker that is lost."""
        failure: FailedAttempt | None = FailedAttempt.died()
        if address in self._short:
            failure = FailedAttempt.too_large(self._job.memory_bytes)
        elif address in self._leaving:
            failure = None
        self._short.discard(address)
        self._leaving.discard(address)
        if address in self._assignments.slots:
            self._take_back(address, failure)
        self._admission.forget(address, now)

    def _take_back(self, address: str, failure: FailedAttempt | None, keep: bool = False) -> None:
        """Takes what a worker holds off it; the running attempt may be kept, in case it ends after all."""
        running = self._assignments.slots[address].running
        slot = self._assignments.remove_worker(address, failure)
        for attempt in slot.held:
            if keep and attempt is running:
                self._late[attempt.number] = (attempt.submission, address)
            else:
                self._connection.forget(attempt.number)
        if running is not None and failure is not None:
            _warn_of(running.submission, failure, address)

    def _end_hung(self, now: float) -> None:
        for address, slot in list(self._assignments.slots.items()):
            reason = self._clock.overdue(slot, now)
            if reason is None or slot.closed:
                continue
            self._take_back(address, FailedAttempt.hung(reason), keep=not slot.nanny)
            if slot.nanny:
                self._connection.restart(address)
            else:
                logger.warning(
                    "worker %s has no nanny that could restart it: it gets nothing more until it answers",
                    address,
                )

    def _answered(self, message: messages.Answered) -> None:
        found = self._assignments.find(message.attempt)
        if found is not None:
            slot, attempt = found
            self._clock.note(attempt, message.at)
            self._assignments.settle(slot, attempt, message.at)
            submission, address = attempt.submission, slot.address
        elif message.attempt in self._late:
            submission, address = self._late.pop(message.attempt)
            self._admission.forget(address, message.at)  # it works after all
        else:
            return
        if self._open.get(submission.key) is submission:
            self._judge(submission, address, message.answer)

    def _judge(self, submission: Submission, address: str, answer: Answer | Exception) -> None:
        """Decides what an answer means for its candidate."""
        if isinstance(answer, Answer) and answer.details:
            logger.info("trial %d on worker %s: %s", submission.key, address, answer.details)
        if isinstance(answer, Exception):
            reason = EvaluationFailure.of(answer).message
            if "deserialization" in reason:
                raise BitfrontError(
                    "Dask cannot read the evaluations that it is sent: install the same bitfront where the "
                    f"scheduler runs, too ({reason})"
                )
            self._note_failure(submission, FailedAttempt.unanswered(reason), address)
        elif isinstance(answer.outcome, Unprepared):
            self._admission.reject(
                address, f"worker {address} cannot prepare the model: {answer.outcome.message}"
            )
            self._exclude(address, submission)
        elif self._admission.differs(address, answer.fingerprint):
            self._exclude(address, submission)
        elif isinstance(answer.outcome, OutOfMemory):
            self._note_failure(submission, FailedAttempt.out_of_memory(answer.outcome.message), address)
        else:
            self._deliver(submission, answer.outcome)

    def _note_failure(self, submission: Submission, failure: FailedAttempt, address: str) -> None:
        submission.failures.append(failure)
        _warn_of(submission, failure, address)
        self._assignments.retry(submission)

    def _exclude(self, address: str, submission: Submission) -> None:
        self._assignments.retry(submission)
        if address in self._assignments.slots:
            self._take_back(address, None)

    def _deliver(self, submission: Submission, outcome: object) -> None:
        del self._open[submission.key]
        self._assignments.withdraw(submission)
        self.done.append((submission.key, outcome))  # type: ignore[arg-type]

    def _hand_out(self, now: float) -> None:
        depth = 2 if self._clock.quick else 1
        job = self._job
        for address, attempt in self._assignments.assign(depth, now):
            submission = attempt.submission
            task = (job.spec_json, submission.config_json, submission.required)
            self._connection.send(address, attempt.number, task, (job.evaluate, job.prepare))


def _warn_of(submission: Submission, failure: FailedAttempt, address: str) -> None:
    again = "it is tried once more" if len(submission.failures) == 1 else "it is given up"
    logger.warning("trial %d on worker %s: %s; %s", submission.key, address, failure.reason, again)
