"""Progress of long work, told as the share that is done."""

from __future__ import annotations

from collections.abc import Callable

ShareDone = Callable[[float], None]
"""Is called with the share that is done, from 0 to 1, as often as the work likes."""


def unreported(share: float) -> None:
    """Progress that nobody looks at."""
