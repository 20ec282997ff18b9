"""Charges: why an attempt at a candidate failed, and what may mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitfront.search.pool import EvaluationFailure

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
