"""The archive: every trial of a run, and the front of the feasible ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.trial import Trial

Point = tuple[float, ...]


def objective_point(trial: Trial, objectives: Sequence[Objective]) -> Point:
    """A trial's objective values in minimisation form; NaN where one is missing."""
    return tuple(objective.minimised(trial.values) for objective in objectives)


def dominates(a: Point, b: Point) -> bool:
    """Whether ``a`` is at least as good everywhere and better somewhere (minimisation form)."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


class Archive:
    """All finished trials of a run; keeps the front while trials arrive in any order.

    Args:
        objectives: The axes of the front.
        trials: Trials to begin with.
    """

    def __init__(self, objectives: Sequence[Objective], trials: Iterable[Trial] = ()) -> None:
        self.objectives = tuple(objectives)
        self._by_digest: dict[str, Trial] = {}
        self._front: dict[Point, Trial] = {}
        for trial in trials:
            self.add(trial)

    def __len__(self) -> int:
        return len(self._by_digest)

    def add(self, trial: Trial) -> bool:
        """Takes a trial in; returns whether it is on the front now. A known digest changes nothing."""
        if trial.digest in self._by_digest:
            return False
        self._by_digest[trial.digest] = trial
        point = objective_point(trial, self.objectives)
        if not trial.feasible or any(map(math.isnan, point)):
            return False
        return self._offer(point, trial)

    def _offer(self, point: Point, trial: Trial) -> bool:
        equal = self._front.get(point)
        if equal is not None:
            # One of several equal points stays: the one asked for first, whichever arrived first.
            if trial.number < equal.number:
                self._front[point] = trial
            return trial.number < equal.number
        if any(dominates(other, point) for other in self._front):
            return False
        self._front = {p: t for p, t in self._front.items() if not dominates(point, p)}
        self._front[point] = trial
        return True

    def get(self, digest: str) -> Trial | None:
        """The trial of a configuration, if there is one."""
        return self._by_digest.get(digest)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials by number."""
        return tuple(sorted(self._by_digest.values(), key=lambda trial: trial.number))

    @property
    def front(self) -> tuple[Trial, ...]:
        """Feasible trials that no feasible trial dominates, one of equal ones, by size, then quality."""
        quality = next((objective.column for objective in self.objectives if not objective.analytic), "")

        def order(trial: Trial) -> tuple[float, float, int]:
            return trial.values["size_bytes"], trial.values.get(quality, math.nan), trial.number

        return tuple(sorted(self._front.values(), key=order))

    @property
    def front_points(self) -> tuple[Point, ...]:
        """The front's objective values in minimisation form."""
        return tuple(self._front)

    @property
    def evaluations(self) -> int:
        """How many trials cost an evaluation."""
        return sum(trial.paid for trial in self._by_digest.values())
