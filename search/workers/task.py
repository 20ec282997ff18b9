"""What runs on a worker: one evaluation at a time, announced to the coordinator before it begins."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitfront.search.pool import EvaluationFailure

if TYPE_CHECKING:
    from bitfront.evaluators.accuracy import Accuracy
    from bitfront.evaluators.context_fingerprint import ContextFingerprint

# From the JSON texts of spec and configuration, and what the candidate must be able to reach.
Evaluate = Callable[[str, str, "float | None"], "Accuracy"]
# From the JSON text of the spec.
Prepare = Callable[[str], "ContextFingerprint"]
Phase = Literal["preparing", "evaluating"]

# A worker of somebody else's cluster may have several threads; a context evaluates one candidate at a time.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Task:
    """One attempt at a candidate, as it is sent to a worker.

    Attributes:
        topic: Under which its phases are announced.
        attempt: Of this attempt alone.
        spec_json: Canonical JSON of the evaluation spec.
        config_json: JSON of the bit configuration.
        required: See :meth:`bitfront.search.pool.AccuracyPool.submit`.
    """

    topic: str
    attempt: int
    spec_json: str
    config_json: str
    required: float | None


@dataclass(frozen=True)
class Unprepared:
    """The worker could not load or prepare the model, whatever the candidate."""

    message: str


@dataclass(frozen=True)
class OutOfMemory:
    """An allocation failed: it may succeed on another worker, or at another time."""

    message: str


@dataclass(frozen=True)
class Answer:
    """What came of a task.

    Attributes:
        outcome: The result, or what prevented it.
        fingerprint: What the worker's context is made of, if it had to be prepared.
        details: The traceback of an error, for the log.
    """

    outcome: Accuracy | EvaluationFailure | Unprepared | OutOfMemory
    fingerprint: ContextFingerprint | None = None
    details: str = ""


def run_task(task: Task, evaluate: Evaluate, prepare: Prepare | None) -> Answer:
    """Prepares where that is still to be done, then evaluates; errors come back as answers."""
    with _ONE_AT_A_TIME:
        fingerprint = None
        if prepare is not None:
            _announce(task, "preparing")
            try:
                fingerprint = prepare(task.spec_json)
            except Exception as error:
                unprepared = Unprepared(EvaluationFailure.of(error).message)
                return Answer(unprepared, details=traceback.format_exc())
        _announce(task, "evaluating")
        try:
            return Answer(evaluate(task.spec_json, task.config_json, task.required), fingerprint)
        except Exception as error:
            failure = EvaluationFailure.of(error)
            kind = OutOfMemory if _is_out_of_memory(error) else EvaluationFailure
            return Answer(kind(failure.message), fingerprint, traceback.format_exc())


def _announce(task: Task, phase: Phase) -> None:
    from distributed import get_worker

    with contextlib.suppress(ValueError):  # not within a worker
        get_worker().log_event(task.topic, {"attempt": task.attempt, "phase": phase})


def _is_out_of_memory(error: Exception) -> bool:
    # torch's CPU allocator raises a plain RuntimeError
    name, text = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text
