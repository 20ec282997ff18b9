"""Outages: something that evaluations need is away; it is waited for, aloud, but not for ever."""

from __future__ import annotations

import logging

from bitfront.spaces import BitfrontError

logger = logging.getLogger(__name__)


class Outage:
    """Follows whether something is there; says so when it is not, and when it is back.

    Args:
        away: What to say while it is away, such as ``the Dask scheduler does not answer``.
        back: What to say when it is back.
        grace_s: Seconds of absence that are nothing to speak of.
        patience_s: Seconds of absence after which waiting ends.
    """

    def __init__(self, away: str, back: str, grace_s: float, patience_s: float) -> None:
        self._away = away
        self._back = back
        self._grace_s = grace_s
        self._patience_s = patience_s
        self._since: float | None = None
        self._told = False

    def note(self, there: bool, now: float) -> None:
        """Takes note of whether it is there at the monotonic time ``now``.

        Raises:
            BitfrontError: It has been away for too long.
        """
        if there:
            if self._told:
                logger.warning("%s", self._back)
            self._since, self._told = None, False
            return
        self._since = now if self._since is None else self._since
        absent = now - self._since
        if absent > self._patience_s:
            raise BitfrontError(f"{self._away}, for {self._patience_s / 60:g} min now")
        if absent >= self._grace_s and not self._told:
            self._told = True
            logger.warning("%s; waiting up to %g min", self._away, self._patience_s / 60)
