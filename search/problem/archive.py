"""The archive: every trial of a run, and the front of the feasible ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.trial import Trial

Point = tuple[float, ...]


def objective_point(trial: Trial, objectives: Sequence[Objective]) -> Point:
    """A trial's objective values in minimisation form; NaN where one is missing."""
    return tuple(objective.minimised(trial.values) for objective in objectives)


def dominates(a: Point, b: Point) -> bool:
    """Whether ``a`` is at least as good everywhere and better somewhere (minimisation form)."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


class Judge(Protocol):
    """Judges trials together: what one of them is worth depends on what others showed."""

    def add(self, trial: Trial) -> None:
        """Takes a trial in."""

    def judged(self, trials: Iterable[Trial]) -> list[Trial]:
        """The same trials with estimates beside what was measured, and violations of limits by these."""


class Archive:
    """All finished trials of a run, and their front, whatever the order in which they arrive.

    A point is on the front where no other point is at least as good everywhere and better somewhere. With
    tolerances, which differences of costs may be noise, a point that is cheaper by no more than that does not
    stay beside one of better quality.

    Args:
        objectives: The axes of the front.
        trials: Trials to begin with.
        judge: Estimates values from all trials; None to take them as they were measured.
        tolerances: By column, the share of a cost below which a difference is none.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        trials: Iterable[Trial] = (),
        judge: Judge | None = None,
        tolerances: Mapping[str, float] | None = None,
    ) -> None:
        self.objectives = tuple(objectives)
        self._judge = judge
        self._slack = [
            1.0 + (tolerances or {}).get(objective.column, 0.0) if objective.analytic else 1.0
            for objective in self.objectives
        ]
        self._measured: dict[str, Trial] = {}
        # Both are made when they are asked for, and dropped with every trial.
        self._judged: dict[str, Trial] | None = None
        self._front: tuple[Trial, ...] | None = None
        for trial in trials:
            self.add(trial)

    def __len__(self) -> int:
        return len(self._measured)

    def add(self, trial: Trial) -> bool:
        """Takes a trial in; returns whether that may change the front. A known digest changes nothing."""
        if trial.digest in self._measured:
            return False
        self._measured[trial.digest] = trial
        if self._judge is not None:
            self._judge.add(trial)
        self._judged = self._front = None
        return trial.state == "complete"

    def get(self, digest: str) -> Trial | None:
        """The trial of a configuration as it was measured, if there is one."""
        return self._measured.get(digest)

    def judged(self, digest: str) -> Trial:
        """The trial of a known configuration, with its estimates."""
        return self._by_digest[digest]

    @property
    def _by_digest(self) -> dict[str, Trial]:
        if self._judged is None:
            measured = self._measured.values()
            found = measured if self._judge is None else self._judge.judged(measured)
            self._judged = {trial.digest: trial for trial in found}
        return self._judged

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials by number, with their estimates."""
        return tuple(sorted(self._by_digest.values(), key=lambda trial: trial.number))

    @property
    def front(self) -> tuple[Trial, ...]:
        """Feasible trials that no feasible trial dominates, one of equal ones, by size, then quality."""
        if self._front is None:
            quality = next((o for o in self.objectives if not o.analytic), None)

            def order(trial: Trial) -> tuple[float, float, int]:
                value = math.nan if quality is None else quality.deciding(trial.values)
                return trial.values["size_bytes"], value, trial.number

            self._front = tuple(sorted(self._undominated(self.trials), key=order))
        return self._front

    def _undominated(self, trials: Iterable[Trial]) -> list[Trial]:
        from moocore import is_nondominated

        found = [trial for trial in trials if trial.feasible]
        points = np.array([objective_point(trial, self.objectives) for trial in found], dtype=np.float64)
        if not found:
            return []
        known = ~np.isnan(points).any(axis=1)
        # What is dominated as it is, is dominated with tolerances.
        left = np.flatnonzero(known)
        left = left[is_nondominated(points[left], keep_weakly=True)]
        points, found = points[left], [found[i] for i in left.tolist()]
        # Nothing that dominates a point stands behind it: the best quality first, of equal ones the cheapest
        # by the product of costs, of equal ones the first that was asked for.
        costs = [i for i, objective in enumerate(self.objectives) if objective.analytic]
        others = [i for i in range(len(self.objectives)) if i not in costs]
        total = np.log(np.maximum(points[:, costs], 1e-300)).sum(axis=1).round(12)
        keys = [*(points[:, i] for i in others), total, *(points[:, i] for i in costs)]
        slack, kept = np.array(self._slack), list[int]()
        for index in np.lexsort([np.arange(len(points)), *reversed(keys)]).tolist():
            if not (points[kept] <= points[index] * slack).all(axis=1).any():
                kept.append(index)
        return [found[index] for index in kept]

    @property
    def front_points(self) -> tuple[Point, ...]:
        """The front's objective values in minimisation form."""
        return tuple(objective_point(trial, self.objectives) for trial in self.front)

    def front_points_of(self, evaluations: int) -> tuple[Point, ...]:
        """The same of the first so many evaluations that were taken in, by what is known now."""
        paid = [digest for digest, trial in self._measured.items() if trial.paid][:evaluations]
        found = self._undominated(self._by_digest[digest] for digest in paid)
        return tuple(objective_point(trial, self.objectives) for trial in found)

    @property
    def evaluations(self) -> int:
        """How many trials cost an evaluation."""
        return sum(trial.paid for trial in self._measured.values())
