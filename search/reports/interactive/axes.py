"""The figures that points of a run can be drawn against and limited in, and the values that trials have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.problem.objectives import COSTS, ESTIMATE, objective_named
from bitfront.search.problem.wording import further_costs, is_modelled
from bitfront.search.runs.columns import gene_columns_named, mean_bits
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import KINDS

Floats = NDArray[np.float64]
MB = 1e-6


@dataclass(frozen=True)
class Axis:
    """Something that points can be drawn against, or limited in.

    Attributes:
        key: Its name in ``values``.
        title: With its unit, for a chart.
        short: The same in few letters, for tables.
        unit: Of the values.
        better: 1 where larger is better, -1 where smaller is.
        decimals: Of the value in tables.
        kind: A metric, a cost, or mean bits.
        main: Whether it stands in tables and among the parallel axes: others are further metrics.
    """

    key: str
    title: str
    short: str
    unit: str
    better: int
    decimals: int
    kind: Literal["metric", "cost", "bits"]
    main: bool = True


class Objective(NamedTuple):
    """An objective by the axis that decides it, and the nearest to the best that counts as equal to it."""

    key: str
    better: int
    least: float
    best: float | None
    cost: bool


def quality_key(run: RecordedRun) -> str:
    """The axis that points are judged by: the estimate where the run has one."""
    name = run.quality.name
    return f"{name}{ESTIMATE}" if f"{name}{ESTIMATE}" in run.front.columns else name


def axes_of(run: RecordedRun) -> list[Axis]:
    """What is known of any trial, the quality first, then costs, then further metrics and bits."""
    quality, known = run.quality, {*run.trials.columns, *run.front.columns}
    found: list[Axis] = []
    if quality_key(run) != quality.name:
        found.append(_metric(quality, f"{quality.name}{ESTIMATE}", " estimated for other images", " est."))
    found.append(_metric(quality, quality.name, " on the search split"))
    found.append(_metric(quality, f"test_{quality.name}", " on the test split", " test"))
    modelled = "modelled" if is_modelled(run.latency_source) else "of the search"
    source = f", {run.latency_source}" if run.latency_source else ""
    short = "modelled latency" if modelled == "modelled" else "latency"
    costs = [
        ("size", "size (MB = 10\N{SUPERSCRIPT SIX} bytes)", "size", "MB", 4),
        ("latency", f"latency (ms, {modelled}{source})", short, "ms", 3),
        ("measured", f"latency of the whole model ({run.latency_measured_source})", "whole model", "ms", 3),
    ]
    costs += [
        (shown.cost.name, f"{shown.cost.title} ({shown.unit}, modelled)", shown.cost.title, shown.unit, 4)
        for shown in further_costs(known)
    ]
    found += [Axis(key, title, short, unit, -1, digits, "cost") for key, title, short, unit, digits in costs]
    for metric in run.schema.task.measured(run.schema.further):
        if metric.name != quality.name and metric.name in known:
            further = _metric(metric, metric.name, " on the search split")
            found.append(replace(further, main=metric.name in run.objectives))
    for kind, letter in zip(KINDS, "WAT", strict=True):
        found.append(Axis(f"bits_{kind}", f"mean bits of {kind}", f"bits {letter}", "bits", -1, 1, "bits"))
    return [axis for axis in found if np.isfinite(column_of(run, axis.key)).any()]


def _metric(metric: Metric, key: str, where: str, short: str = "") -> Axis:
    unit = f" ({metric.unit})" if metric.unit else ""
    better, decimals = int(metric.sign), metric.shown_decimals
    title = f"{metric.title}{where}{unit}"
    return Axis(key, title, f"{metric.title}{short}", metric.unit, better, decimals, "metric")


def column_of(run: RecordedRun, key: str) -> Floats:
    """The values of an axis by trial; what is known of the front alone is NaN elsewhere."""
    table = run.trials
    if key.startswith("bits_"):
        return _mean_bits(run)[:, KINDS.index(key.removeprefix("bits_"))]
    column = "latency_measured_ms" if key == "measured" else COSTS[key].column if key in COSTS else key
    found = np.full(len(table), np.nan)
    if column in table.columns:
        found = table[column].to_numpy(dtype=np.float64)
    if column in run.front.columns:
        own = table["trial"].map(run.front.set_index("trial")[column]).to_numpy(dtype=np.float64)
        found = np.where(np.isfinite(own), own, found)
    return found * scale_of(key)


def scale_of(key: str) -> float:
    """What values of an axis are multiplied with: bytes are shown in MB."""
    return MB if key in COSTS and COSTS[key].unit == "bytes" else 1.0


def _mean_bits(run: RecordedRun) -> Floats:
    genes = (*run.genes, *gene_columns_named(run.settled))
    rows = ({**run.settled, **row} for row in run.trials[[g.name for g in run.genes]].to_dict("records"))
    found = [mean_bits({str(k): v for k, v in row.items()}, genes) for row in rows]
    return np.array(found, dtype=np.float64).reshape(-1, len(KINDS))


def objective_of(run: RecordedRun, name: str) -> Objective:
    """An objective of the run, by the axis that decides it."""
    found = objective_named(name, run.schema.task)
    if name in COSTS:
        return Objective(name, -1, found.least * scale_of(name), None, cost=True)
    key = quality_key(run) if name == run.quality.name else name
    best = found.span(0)[0] if found.span is not None else None
    return Objective(key, 1 if found.direction == "maximise" else -1, found.least, best, cost=False)
