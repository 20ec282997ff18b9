"""How long an evaluation may take before its worker counts as hung."""

from __future__ import annotations

from bitfront.search.workers.roster import Attempt, Seat
from bitfront.search.workers.settings import WorkerSettings

TIMES_THE_LONGEST = 20.0
LEAST_LIMIT_S = 300.0
# Evaluations quicker than this are sent one ahead: fetching the next one would take a share of their time.
QUICK_S = 5.0


class EvaluationClock:
    """Learns how long evaluations take; says when one has taken too long.

    Args:
        settings: The limits, where they are given.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._longest_s: float | None = None

    def note(self, attempt: Attempt, now: float) -> None:
        """Learns from an attempt that was answered."""
        if attempt.phase == "evaluating":
            self._longest_s = max(self._longest_s or 0.0, now - attempt.since)

    @property
    def evaluation_limit_s(self) -> float:
        """Seconds that an evaluation may take."""
        automatic = max(LEAST_LIMIT_S, TIMES_THE_LONGEST * (self._longest_s or 0.0))
        return self._settings.evaluation_timeout_s or automatic

    @property
    def quick(self) -> bool:
        """Whether candidates are best sent before the worker asks for them."""
        return self._longest_s is not None and self._longest_s < QUICK_S

    def overdue(self, seat: Seat, now: float) -> str | None:
        """Why a worker counts as hung; None while it does not."""
        attempt = seat.running
        if attempt is None:
            return None
        taken = now - attempt.since
        # What a worker announces last may be lost where it hangs at once.
        if attempt.phase == "evaluating" or seat.prepared:
            limit, what = self.evaluation_limit_s, "evaluating it"
        else:
            limit, what = self._settings.preparation_timeout_s, "preparing the model for it"
        return f"{what} took more than {_shown(limit)}" if taken > limit else None


def _shown(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.0f} min"
