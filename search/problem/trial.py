"""A trial: one candidate of a search with what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bitfront.spaces import BitfrontError

TrialState = Literal["complete", "screened", "failed", "rejected"]


@dataclass(frozen=True)
class Trial:
    """A finished candidate.

    Attributes:
        number: Position in the order of asking, from 0.
        digest: Digest of its bit configuration.
        genome: Index into the choices of every gene.
        state: ``complete`` (evaluated on the whole search split), ``screened`` (evaluated on a part of it,
            which showed that it cannot stand on the front), ``failed`` (the evaluation ended in an error) or
            ``rejected`` (violates a constraint that needs no evaluation, so it was never evaluated).
        values: What is known of it: ``latency_ms`` and ``size_bytes`` always, metrics of the task by name,
            and how many of its ``images`` only the float model (``lost``) or only this one (``won``) gets
            right where it was evaluated. Estimates are beside what was measured (``top1_estimate``, see
            ``search/estimation``) where all trials of a run were judged together.
        violations: Violation by constraint name; at most 0 where the constraint holds.
        error: Why the evaluation failed, in one line.
        elapsed_s: Search time at which it was finished, in seconds.
        right: Which of its images it gets right, packed (see ``evaluators/tasks/quality.py``); empty where
            that is not known.
        known: Whether its evaluation was taken from an earlier run.
    """

    number: int
    digest: str
    genome: tuple[int, ...]
    state: TrialState
    values: Mapping[str, float]
    violations: Mapping[str, float]
    error: str | None = None
    elapsed_s: float = field(default=0.0, compare=False)
    right: str = field(default="", compare=False, repr=False)
    known: bool = field(default=False, compare=False)

    @property
    def feasible(self) -> bool:
        """Whether it was evaluated on the whole split and satisfies every constraint."""
        return self.state == "complete" and self.total_violation == 0.0

    @property
    def total_violation(self) -> float:
        """Sum of the violated constraints' violations; 0 where all hold."""
        return sum(max(0.0, value) for value in self.violations.values())

    @property
    def paid(self) -> bool:
        """Whether it cost an evaluation."""
        return self.state != "rejected"


@dataclass(frozen=True)
class EvaluationFailure:
    """Why a candidate could not be evaluated, in one line."""

    message: str

    @classmethod
    def of(cls, error: BaseException) -> EvaluationFailure:
        """The failure that an exception stands for; the project's own messages speak for themselves."""
        text = " ".join(str(error).split())
        if text and isinstance(error, BitfrontError):
            return cls(text)
        return cls(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def failures_by_reason(failed: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    """Every error that ended an evaluation, as it was worded, with the numbers of its trials, in their order.

    Args:
        failed: Number and error of each failed trial.
    """
    numbers: dict[str, list[int]] = {}
    for number, error in failed:
        numbers.setdefault(error, []).append(number)
    return [{"error": error, "trials": found} for error, found in numbers.items()]
