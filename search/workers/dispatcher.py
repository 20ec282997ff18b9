"""The dispatcher: keeps workers busy and sees every candidate through to its answer."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from bitfront.search.engine.protocols import (
    Completed,
)
from bitfront.search.problem.trial import (
    EvaluationFailure,
)
from bitfront.search.workers.admission import Gate
from bitfront.search.workers.assignments import Candidate, Charge, Roster, failure_of
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.messages import (
    Announced,
    Answered,
    Equipped,
    Introduced,
    Leaving,
    Left,
    Message,
    Restarted,
    Roll,
    Short,
)
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
        gate: Decides which workers take part.
        clock: Decides which have hung.
        job: What they do.
    """

    def __init__(self, connection: Connection, gate: Gate, clock: EvaluationClock, job: Job) -> None:
        self._connection = connection
        self._gate = gate
        self._clock = clock
        self._job = job
        self._roster = Roster()
        self._nannies: dict[str, bool] = {}
        self._open: dict[int, Candidate] = {}
        self._late: dict[int, tuple[Candidate, str]] = {}
        self._short: set[str] = set()
        self._leaving: set[str] = set()
        self._lost: deque[tuple[float, str]] = deque()
        self.done: deque[Completed] = deque()

    @property
    def workers(self) -> int:
        """How many workers take part."""
        return len(self._roster.seats)

    @property
    def waiting(self) -> bool:
        """Whether a candidate has no answer yet."""
        return bool(self._open)

    def add(self, candidate: Candidate, now: float) -> None:
        """Takes a candidate over."""
        self._open[candidate.key] = candidate
        self._roster.add(candidate)
        self._hand_out(now)

    def hear(self, message: Message, now: float) -> None:
        """Acts on what the scheduler or a worker reports."""
        match message:
            case Roll():
                self._call(message, now)
            case Introduced(address=address):
                self._seat(address, self._gate.introduced(message, self._connection))
            case Equipped(address=address):
                self._seat(address, self._gate.equipped(message))
            case Announced(attempt=number, phase=phase, at=at):
                if (found := self._roster.find(number)) is not None:
                    found[1].phase, found[1].since = phase, at
            case Answered():
                self._answered(message)
            case Short(address=address):
                self._short.add(address)
            case Leaving(address=address):
                self._leaving.add(address)
            case Left(address=address, at=at):
                self._lose(address, at)
            case Restarted(address=address):
                if address not in self._roster.seats:
                    self._gate.forget(address, now)

    def tend(self, now: float, hung: bool = True) -> None:
        """Does what is due: takes candidates off lost workers, ends hung ones, hands out what waits.

        Args:
            now: Monotonic time in seconds.
            hung: Whether evaluations may count as hung; not while the scheduler passes nothing on.
        """
        while self._lost and self._lost[0][0] <= now:
            self._dismiss(self._lost.popleft()[1], now)
        if hung:
            self._end_hung(now)
        for candidate in self._roster.given_up():
            self._deliver(candidate, failure_of(candidate.charges))
        self._hand_out(now)

    def excuse(self, now: float) -> None:
        """Starts the clocks of all attempts anew: nothing could be heard of them for a while."""
        for seat in self._roster.seats.values():
            for attempt in seat.held:
                attempt.since = now

    def disconnect(self) -> None:
        """Takes everything back: the scheduler is lost, and nobody is to blame."""
        for address in list(self._roster.seats):
            self._roster.dismiss(address, None)
        for candidate, _ in self._late.values():
            logger.debug("candidate %d is not waited for any more", candidate.key)
        for state in (self._late, self._short, self._leaving, self._lost):
            state.clear()

    def reconnect(self, connection: Connection, gate: Gate) -> None:
        """Goes on through another connection."""
        self._connection, self._gate = connection, gate

    def _call(self, roll: Roll, now: float) -> None:
        self._nannies |= roll.nannies
        for address in self._gate.admit(roll, self._connection):
            self._seat(address, True)
        for address, seat in self._roster.seats.items():
            seat.paused = address not in roll.running
            if address not in roll.nannies:
                self._lose(address, now)

    def _seat(self, address: str, admitted: bool) -> None:
        if admitted:
            self._roster.seat(address, self._nannies[address], prepared=self._job.prepare is None)
            self._connection.listen_to(address)

    def _lose(self, address: str, at: float) -> None:
        seat = self._roster.seats.get(address)
        if seat is None:
            self._gate.forget(address, at)
        elif not seat.closed:
            seat.closed = True
            self._lost.append((at + GRACE_S, address))

    def _dismiss(self, address: str, now: float) -> None:
        """Takes a lost worker off the roster."""
        charge: Charge | None = Charge.died()
        if address in self._short:
            charge = Charge.too_large(self._job.memory_bytes)
        elif address in self._leaving:
            charge = None
        self._short.discard(address)
        self._leaving.discard(address)
        if address in self._roster.seats:
            self._take_back(address, charge)
        self._gate.forget(address, now)

    def _take_back(self, address: str, charge: Charge | None, keep: bool = False) -> None:
        """Takes what a worker holds off it; what it is at may be kept, in case that it ends after all."""
        running = self._roster.seats[address].running
        seat = self._roster.dismiss(address, charge)
        for attempt in seat.held:
            if keep and attempt is running:
                self._late[attempt.number] = (attempt.candidate, address)
            else:
                self._connection.forget(attempt.number)
        if running is not None and charge is not None:
            _warn_of(running.candidate, charge, address)

    def _end_hung(self, now: float) -> None:
        for address, seat in list(self._roster.seats.items()):
            reason = self._clock.overdue(seat, now)
            if reason is None or seat.closed:
                continue
            self._take_back(address, Charge.hung(reason), keep=not seat.nanny)
            if seat.nanny:
                self._connection.restart(address)
            else:
                logger.warning(
                    "worker %s has no nanny that could restart it: it gets nothing more until it answers",
                    address,
                )

    def _answered(self, message: Answered) -> None:
        found = self._roster.find(message.attempt)
        if found is not None:
            seat, attempt = found
            self._clock.note(attempt, message.at)
            self._roster.settle(seat, attempt, message.at)
            candidate, address = attempt.candidate, seat.address
        elif message.attempt in self._late:
            candidate, address = self._late.pop(message.attempt)
            self._gate.forget(address, message.at)  # it works after all
        else:
            return
        if self._open.get(candidate.key) is candidate:
            self._judge(candidate, address, message.answer)

    def _judge(self, candidate: Candidate, address: str, answer: Answer | Exception) -> None:
        """Decides what an answer means for its candidate."""
        if isinstance(answer, Answer) and answer.details:
            logger.info("trial %d on worker %s: %s", candidate.key, address, answer.details)
        if isinstance(answer, Exception):
            reason = EvaluationFailure.of(answer).message
            if "deserialization" in reason:
                raise BitfrontError(
                    "Dask cannot read the evaluations that it is sent: install the same bitfront where the "
                    f"scheduler runs, too ({reason})"
                )
            self._charge(candidate, Charge.unanswered(reason), address)
        elif isinstance(answer.outcome, Unprepared):
            self._gate.bar(address, f"worker {address} cannot prepare the model: {answer.outcome.message}")
            self._exclude(address, candidate)
        elif self._gate.differs(address, answer.fingerprint):
            self._exclude(address, candidate)
        elif isinstance(answer.outcome, OutOfMemory):
            self._charge(candidate, Charge.out_of_memory(answer.outcome.message), address)
        else:
            self._deliver(candidate, answer.outcome)

    def _charge(self, candidate: Candidate, charge: Charge, address: str) -> None:
        candidate.charges.append(charge)
        _warn_of(candidate, charge, address)
        self._roster.retry(candidate)

    def _exclude(self, address: str, candidate: Candidate) -> None:
        self._roster.retry(candidate)
        if address in self._roster.seats:
            self._take_back(address, None)

    def _deliver(self, candidate: Candidate, outcome: object) -> None:
        del self._open[candidate.key]
        self._roster.withdraw(candidate)
        self.done.append((candidate.key, outcome))  # type: ignore[arg-type]

    def _hand_out(self, now: float) -> None:
        depth = 2 if self._clock.quick else 1
        job = self._job
        for address, attempt in self._roster.assign(depth, now):
            candidate = attempt.candidate
            task = (job.spec_json, candidate.config_json, candidate.required)
            self._connection.send(address, attempt.number, task, (job.evaluate, job.prepare))


def _warn_of(candidate: Candidate, charge: Charge, address: str) -> None:
    again = "it is tried once more" if len(candidate.charges) == 1 else "it is given up"
    logger.warning("trial %d on worker %s: %s; %s", candidate.key, address, charge.reason, again)
