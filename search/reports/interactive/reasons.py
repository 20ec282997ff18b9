"""Why each trial of a run is on its front or not, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.search.export.evidence import latency_noise
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.objectives import ESTIMATE, NEGLIGIBLE, objective_named
from bitfront.search.runs.columns import violation_column
from bitfront.search.runs.reader import RecordedRun

Floats = NDArray[np.float64]

# What a trial is, the best first.
FRONT, DOMINATED, INFEASIBLE, SCREENED, REJECTED, FAILED = GROUPS = (
    "front",
    "dominated",
    "infeasible",
    "screened",
    "rejected",
    "failed",
)
_VIOLATION = violation_column("").name


class Reason(NamedTuple):
    """What a trial is (one of :data:`GROUPS`), and why, in words; these are empty on the front."""

    group: str
    words: str = ""


def reasons_of(run: RecordedRun) -> list[Reason]:
    """The reason of every trial, in the order of the table of trials."""
    front = set(run.front["trial"].tolist())
    limits = {limit.name: limit for limit in run.limits}
    rows = run.trials.to_dict("records")
    dominators = _dominators(run)
    return [
        Reason(FRONT)
        if row["trial"] in front
        else _reason(row, limits, dominators.get(int(row["trial"]), None))
        for row in rows
    ]


def _reason(row: Mapping[Any, Any], limits: Mapping[str, Limit], dominator: int | None) -> Reason:
    state = str(row["state"])
    if state == FAILED:
        return Reason(FAILED, f"failed: {row.get('error') or 'no reason was recorded'}")
    broken = "; ".join(_broken(row, limits))
    if state == REJECTED:
        return Reason(REJECTED, f"not evaluated: {broken or 'breaks a constraint'}")
    if state == SCREENED:
        images: Any = row.get("images")
        seen = f"{int(images)} images" if _known(images) else "a part of the images"
        return Reason(SCREENED, f"given up after {seen}, which showed that it cannot stand on the front")
    if not row["feasible"]:
        return Reason(INFEASIBLE, broken or "breaks a constraint")
    if dominator is None:
        return Reason(DOMINATED, "no better than a point of the front, but for differences that are noise")
    return Reason(DOMINATED, f"trial {dominator} is at least as good in every objective")


def _broken(row: Mapping[Any, Any], limits: Mapping[str, Limit]) -> list[str]:
    """Every constraint that a trial breaks: a limit with what was measured, another by its name."""
    words = []
    for column, violation in row.items():
        name = str(column).removeprefix(_VIOLATION)
        if not str(column).startswith(_VIOLATION) or not _known(violation) or violation <= 0.0:
            continue
        limit = limits.get(name)
        if limit is None:
            words.append(f"breaks the constraint {name.replace('_', ' ')}")
            continue
        asked = f"{limit.side} {limit.describe(limit.threshold)}"
        value: Any = row.get(limit.column)
        found = limit.describe(float(value)) if _known(value) else "not measured"
        margin = "" if limit.analytic else " counted, less a margin for chance"
        words.append(f"breaks {limit.label}: {found}{margin}, {asked} allowed")
    return words


def _dominators(run: RecordedRun) -> dict[int, int]:
    """By trial, a point of the front that is at least as good everywhere, the best one of them.

    Costs that differ by noise alone count as equal, as they do where fronts are made.
    """
    objectives = [objective_named(name, run.schema.task) for name in run.objectives]
    trials = run.trials[run.trials["feasible"]]
    columns, slack = list[Floats](), list[float]()
    for objective in objectives:
        found = _values(trials, objective.column)
        columns.append(-found if objective.direction == "maximise" else found)
        noise = latency_noise(run) if objective.name == "latency" else 0.0
        slack.append(1.0 + max(NEGLIGIBLE, noise) if objective.analytic else 1.0)
    points, numbers = np.column_stack(columns), trials["trial"].to_numpy(dtype=np.int64)
    best = np.flatnonzero(np.isin(numbers, run.front["trial"].to_numpy(dtype=np.int64)))
    best = best[np.argsort(points[best, 0], kind="stable")]
    better = (points[best][None] <= points[:, None] * np.array(slack)).all(axis=-1)
    return {
        int(number): int(numbers[best[int(row.argmax())]])
        for number, row in zip(numbers, better, strict=True)
        if row.any()
    }


def _values(rows: Any, column: str) -> Floats:
    """What decides: the estimate where there is one, else what was measured."""
    measured: Floats = rows[column].to_numpy(dtype=np.float64)
    if f"{column}{ESTIMATE}" not in rows.columns:
        return measured
    estimated: Floats = rows[f"{column}{ESTIMATE}"].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(estimated), estimated, measured)


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
