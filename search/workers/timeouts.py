"""How long is waited: for an evaluation before its worker counts as hung, and for what is away."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from bitfront.search.workers.assignments import Attempt, WorkerSlot
from bitfront.search.workers.local_cluster import WorkerSettings
from bitfront.spaces import BitfrontError

TIMES_THE_LONGEST = 20.0
LEAST_LIMIT_S = 300.0
# Evaluations quicker than this are sent one ahead: fetching the next one would take a share of their time.
QUICK_S = 5.0
logger = logging.getLogger(__name__)


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

    def overdue(self, slot: WorkerSlot, now: float) -> str | None:
        """Why a worker counts as hung; None while it does not."""
        attempt = slot.running
        if attempt is None:
            return None
        taken = now - attempt.since
        # What a worker announces last may be lost where it hangs at once.
        if attempt.phase == "evaluating" or slot.prepared:
            limit, what = self.evaluation_limit_s, "evaluating it"
        else:
            limit, what = self._settings.preparation_timeout_s, "preparing the model for it"
        shown = f"{limit:g} s" if limit < 120 else f"{limit / 60:.0f} min"
        return f"{what} took more than {shown}" if taken > limit else None


@dataclass
class Outage:
    """Follows whether something is there; says so when it is not, and when it is back.

    Attributes:
        away: What to say while it is away, such as ``the Dask scheduler does not answer``.
        back: What to say when it is back.
        grace_s: Seconds of absence that are nothing to speak of.
        patience_s: Seconds of absence after which waiting ends.
    """

    away: str
    back: str
    grace_s: float
    patience_s: float
    _since: float | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    def note(self, there: bool, now: float) -> None:
        """Takes note of whether it is there at the monotonic time ``now``.

        Raises:
            BitfrontError: It has been away for too long.
        """
        if there:
            if self._told:
                logger.warning("%s", self.back)
            self._since, self._told = None, False
            return
        self._since = now if self._since is None else self._since
        absent = now - self._since
        if absent > self.patience_s:
            raise BitfrontError(f"{self.away}, for {self.patience_s / 60:g} min now")
        if absent >= self.grace_s and not self._told:
            self._told = True
            logger.warning("%s; waiting up to %g min", self.away, self.patience_s / 60)
