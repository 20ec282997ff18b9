"""Times of runs beside those of one of them: what slows a moment slows both, and is taken out."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Repeats = Sequence[Sequence[float]]


def paired(times: Mapping[Name, Repeats], beside: Name, burst: int) -> dict[Name, Repeats]:
    """Times as they would have been had the run ``beside`` taken equally long all the time.

    Every burst is divided by that run's burst of the same round, which ran within moments of it.

    Args:
        times: Milliseconds of each run by repeat, in bursts that all runs had in the same rounds.
        beside: The run that the others are compared with.
        burst: Iterations of a burst; the last one of a repeat may be shorter.

    Returns:
        The times of the others by repeat; those of ``beside`` as they are.
    """
    usual = statistics.median(value for repeat in times[beside] for value in repeat)

    def corrected(repeats: Repeats) -> Repeats:
        return [
            [
                value * usual / pace
                for part, pace in zip(_bursts(own, burst), paces, strict=True)
                for value in part
            ]
            for own, paces in zip(repeats, steps, strict=True)
        ]

    steps = [[statistics.median(part) for part in _bursts(repeat, burst)] for repeat in times[beside]]
    return {name: repeats if name == beside else corrected(repeats) for name, repeats in times.items()}


def _bursts(values: Sequence[float], size: int) -> Iterator[Sequence[float]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
