"""The part of a front within limits that are asked for when choosing a point, not when searching."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.estimation.estimates import share_held
from bitfront.search.export.evidence import posterior_of
from bitfront.search.problem.limits import AskedLimit, Limit
from bitfront.search.problem.objectives import COSTS, ESTIMATE, ESTIMATE_ERROR
from bitfront.search.problem.spec import CONFIDENCE, RunSpec
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

Floats = NDArray[np.float64]
AnyRun = TypeVar("AnyRun", bound=RecordedRun)

# Fields of a run's spec that a choice may set itself: how surely limits are to hold, and how much worse than
# the best point the starred one may be.
_SURELY = "confidence"
_DECIDED = ("max_drop", _SURELY)


def narrowed(run: AnyRun, asked: Mapping[str, Any]) -> AnyRun:
    """A run whose front is the part of it that is within limits; what is chosen by the front follows.

    They are read and judged as those of a search: limits on the share of images decided right by what the
    estimates hold to with the run's ``confidence``, and ``max_drop`` is how much worse than the best point
    the starred one may be.

    Args:
        run: The run; one whose front is empty stays as it is.
        asked: Limits under the names of :class:`bitfront.search.problem.spec.RunSpec`, and ``confidence``;
            None or an empty list for none.

    Raises:
        UserError: A limit cannot be read, its value was not measured, or no point is within the limits: the
            nearest one is named.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), [])}
    task = str(run.evaluation.get("task", EvaluationSpec.task))
    spec = RunSpec(EvaluationSpec(task=task), **given)
    spec.check()
    if not spec.limits or run.front.empty:
        return run
    limits = (*run.narrowed, *(_against(run, limit) for limit in spec.limits))
    decided = {name: getattr(spec, name) for name in _DECIDED if name in given}
    found = dataclasses.replace(run, narrowed=limits, spec={**run.spec, **decided})
    excess, values = violations(found)
    inside = np.flatnonzero((excess <= 0.0).all(axis=1))
    if not len(inside):
        raise UserError(_nearest(found, excess, values))
    return dataclasses.replace(found, front=run.front.iloc[inside].reset_index(drop=True))


def _against(run: RecordedRun, asked: AskedLimit) -> Limit:
    base = run.float_reference
    if asked.column not in {*run.front.columns, *run.trials.columns}:
        cost = next((name for name, cost in COSTS.items() if cost.column == asked.column), None)
        option = f"--metrics {asked.column}" if cost is None else f"{cost} among its --objectives"
        raise UserError(f"{asked.origin}: run {run.name} has no {asked.column}: search with {option}")
    try:
        if base is None and not asked.absolute:
            raise ValueError
        limit = asked.against(base) if base else _absolute(asked)
    except ValueError:
        limit = None
    if limit is None or math.isnan(limit.threshold):
        raise UserError(
            f"{asked.origin} moves with the float model's {asked.column}, which run {run.name} has not "
            "measured: give an absolute limit"
        )
    return limit


def violations(run: RecordedRun) -> tuple[Floats, list[dict[str, float]]]:
    """Violations of the limits that a run was narrowed to, ``[points, limits]``, and what they rest on.

    They are at most 0 where a limit holds: the share by which it is met or exceeded.
    """
    trials = run.trials.drop_duplicates("trial").set_index("trial", drop=False).to_dict("index")
    rows = [{**trials.get(row["trial"], {}), **row} for row in run.front.to_dict("records")]
    values = [{str(k): v for k, v in row.items() if isinstance(v, int | float)} for row in rows]
    counted = run.schema.task.counted
    for limit in run.narrowed:
        if limit.column == counted:
            for row, held in zip(values, _held(run, limit), strict=True):
                row.update(held)
    excess = [[limit.violation(row) for limit in run.narrowed] for row in values]
    return np.array(excess, dtype=np.float64), values


def _held(run: RecordedRun, limit: Limit) -> list[dict[str, float]]:
    """For each point what its share of images holds to, or its estimate; nothing where there is none."""
    counted, base = limit.column, run.float_reference
    names = (f"{counted}{ESTIMATE}", f"{counted}{ESTIMATE_ERROR}")
    if not set(names) <= set(run.front.columns):
        return [{} for _ in range(len(run.front))]
    estimates, errors = (run.front[name].to_numpy(dtype=np.float64) for name in names)
    found = posterior_of(run)
    if found is None or base is None:
        return [{} if math.isnan(value) else {counted: float(value)} for value in estimates]
    posterior, rows = found
    confidence = float(run.spec.get(_SURELY) or CONFIDENCE)
    splits = (base.images, base.test_images)
    held = share_held(
        limit, estimates, errors, posterior.noise[rows], base.values[counted], splits, confidence
    )
    return [{} if math.isnan(value) else {limit.bound: float(value)} for value in held]


def least_slack(run: RecordedRun) -> int:
    """Position of the point that is nearest to the limits that a run was narrowed to.

    The distance is that to the limit that is furthest away, as a share of it.

    Raises:
        UserError: It was narrowed to none.
    """
    if not run.narrowed:
        raise UserError("--pick nearest needs a limit to be near to: give one, such as --max-size 4MB")
    excess, _ = violations(run)
    return _first(run, np.abs(excess).max(axis=1))


def _nearest(run: RecordedRun, excess: Floats, values: Sequence[Mapping[str, float]]) -> str:
    """That no point is within the limits, and which one exceeds them least."""
    position = _first(run, excess.max(axis=1))
    missed = [
        f"{limit.told(values[position])} ({limit.origin} is {limit.describe(limit.threshold)})"
        for limit, value in zip(run.narrowed, excess[position], strict=True)
        if value > 0.0
    ]
    asked = " ".join(limit.origin for limit in run.narrowed)
    trial = int(run.front["trial"].iloc[position])
    return (
        f"no point of run {run.title} is within {asked}: the nearest is trial {trial} with "
        f"{', '.join(missed)}; loosen the limits, or take that trial with --pick {trial}"
    )


def _first(run: RecordedRun, distances: Floats) -> int:
    return int(np.lexsort((run.front["trial"].to_numpy(), distances.round(12)))[0])


def _absolute(asked: AskedLimit) -> Limit:
    return Limit(asked.name, asked.column, asked.side, asked.offset, asked.origin, asked.unit)


def broken_sizes(run: RecordedRun, size: int, bounded: float | None) -> list[Limit]:
    """Limits of the size that the files of a point break although the point was found within them.

    Args:
        run: Whose limits, those of its front included.
        size: Bytes of the files together.
        bounded: Bytes by which the search, or the choice, held to the limits; None where they are not known.
    """
    return [
        limit
        for limit in (*run.limits, *run.narrowed)
        if limit.name == "max_size" and bounded is not None and bounded <= limit.threshold < size
    ]


def told_larger(run: RecordedRun, limit: Limit, names: Sequence[str], size: int) -> str:
    """That files break a limit, which was held by what files of another format have."""
    files, verb = " and ".join(names), "takes" if len(names) == 1 else "take"
    return (
        f"{files} {verb} {size / 1e6:.4g} MB, more than {limit.label}, which run {run.name} held by the size "
        f"of {run.size_of} files"
    )
