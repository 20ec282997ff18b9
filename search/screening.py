"""Screening: what a candidate must reach, so that hopeless ones are not evaluated on every image."""

from __future__ import annotations

from bitfront.search.archive import Archive
from bitfront.search.problem import Prepared, SearchProblem


def required_difference(problem: SearchProblem, prepared: Prepared, known: Archive) -> float | None:
    """The least top-1 with which a candidate may stand on the front, less that of the float model.

    A candidate whose latency and size are no better than those of a front point has to be more accurate than
    that; a limit on top-1 has to be met in any case.

    Args:
        problem: What is searched.
        prepared: The candidate.
        known: The trials that the decision may rest on.

    Returns:
        Percentage points, usually negative; None where any top-1 would do, or where the front has another
        axis that only an evaluation tells.
    """
    if problem.float_top1 is None or not all(o.analytic or o.column == "top1" for o in problem.objectives):
        return None
    bounds = [limit.threshold for limit in problem.limits if limit.column == "top1"]
    priced = [objective for objective in problem.objectives if objective.analytic]
    if len(priced) < len(problem.objectives):
        bounds += [
            trial.values["top1"]
            for trial in known.front
            if all(o.minimised(trial.values) <= o.minimised(prepared.values) for o in priced)
        ]
    return max(bounds) - problem.float_top1 if bounds else None
