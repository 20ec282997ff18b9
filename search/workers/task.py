"""What runs on a worker: its evaluation context, and one announced evaluation at a time."""

from __future__ import annotations

import contextlib
import json
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import split_entry
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers.bundle_transfer import received_bundle
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.context.bundle import ContextFingerprint
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.tasks.quality import Quality

# From the JSON texts of spec and configuration, and what the candidate must be able to reach.
Evaluate = Callable[[str, str, "float | None"], "Quality"]
# From the JSON text of the spec.
Prepare = Callable[[str], "ContextFingerprint"]
Phase = Literal["preparing", "evaluating"]

# A worker of somebody else's cluster may have several threads; a context evaluates one candidate at a time.
_ONE_AT_A_TIME = threading.Lock()
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Task:
    """One attempt at a candidate, as it is sent to a worker.

    Attributes:
        topic: Under which its phases are announced.
        attempt: Of this attempt alone.
        spec_json: Canonical JSON of the evaluation spec.
        config_json: JSON of the bit configuration.
        required: See :meth:`bitfront.search.engine.protocols.AccuracyPool.submit`.
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

    outcome: Quality | EvaluationFailure | Unprepared | OutOfMemory
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
            # torch raises an error of its own for a GPU, and a plain RuntimeError for a CPU.
            short = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
            short = short or "can't allocate memory" in str(error)
            kind = OutOfMemory if short else EvaluationFailure
            return Answer(kind(failure.message), fingerprint, traceback.format_exc())


def _announce(task: Task, phase: Phase) -> None:
    from distributed import get_worker

    with contextlib.suppress(ValueError):  # not within a worker
        get_worker().log_event(task.topic, {"attempt": task.attempt, "phase": phase})


def prepare_on_worker(spec_json: str) -> ContextFingerprint:
    """Loads and prepares everything that evaluations need, once per process; returns what it is made of."""
    return _prepared(spec_json, _stamp(spec_json))[1]


def evaluate_on_worker(spec_json: str, config_json: str, required: float | None = None) -> Quality:
    """Scores a configuration on the search split, in the process that calls it.

    Args:
        spec_json: Canonical JSON of the evaluation spec; its model is loaded and calibrated once per process.
        config_json: JSON of the bit configuration.
        required: Points of images decided right above the float model that it must be able to reach; None to
            evaluate it on the whole split in any case.
    """
    config = BitConfig.from_json(json.loads(config_json))
    context, _ = _prepared(spec_json, _stamp(spec_json))
    return context.quality(config, required=required)


@lru_cache(maxsize=1)
def _prepared(spec_json: str, stamp: Stamp) -> tuple[EvaluationContext, ContextFingerprint]:  # noqa: ARG001 - a file that was replaced is another context
    from bitfront.evaluators.context.bundle import context_of_bundle, fingerprint_of
    from bitfront.evaluators.context.context import EvaluationContext

    spec = EvaluationSpec.from_json(json.loads(spec_json))
    bundle = received_bundle(spec_json)
    context = EvaluationContext.from_spec(spec) if bundle is None else context_of_bundle(bundle, spec)
    context.float_quality()  # kept: every evaluation is compared with it
    return context, fingerprint_of(context)


def _stamp(spec_json: str) -> Stamp:
    """Size and time of the files that a spec names: a worker of a cluster outlives them."""
    spec = EvaluationSpec.from_json(json.loads(spec_json))
    paths = (
        Path(split_entry(place)[0] if name == "checkpoint" else place) for name, place in spec.places.items()
    )
    found = [(str(path), path.stat()) for path in paths if path.exists()]
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)
