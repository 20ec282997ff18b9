"""What the report of a run holds, as values: trials with reasons, axes, and what tells its front apart.

Everything that a browser shows is in :class:`RunDocument`. What it computes itself, as limits move (the
points within them, the star and the shortlist), it computes from ``front`` by the rules of
``search/export/selection.py`` and ``search/estimation/shortlist.py``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.export.evidence import evidence_of, latency_noise
from bitfront.search.export.selection import default_choice, shortlist_of
from bitfront.search.problem.objectives import COSTS, ESTIMATE, objective_named
from bitfront.search.problem.wording import is_modelled
from bitfront.search.reports.front_rows import (
    accuracy_notes,
    failure_notes,
    front_rows,
    latency_notes,
    shortlist_notes,
    star_note,
)
from bitfront.search.reports.interactive.facts import run_facts
from bitfront.search.reports.interactive.reasons import GROUPS, reasons_of
from bitfront.search.reports.plots.hypervolume import reference_point
from bitfront.search.reports.plots.run_plots import subject
from bitfront.search.runs.columns import gene_columns_named, mean_bits
from bitfront.search.runs.names import command_line
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import KINDS

Floats = NDArray[np.float64]
_DIGITS = 7
_MB = 1e-6


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


@dataclass(frozen=True)
class FrontDocument:
    """The front, its rows in the order of ``front.csv``.

    Attributes:
        rows: Positions among the trials.
        quality: What points are judged by, higher is better.
        costs: Positive, lower is better, one list for each point.
        tolerances: For each cost, the share below which a difference is none.
        errors: By axis, the standard error of each point's value, or of its difference to the float model.
        pairs: Standard errors of all differences in quality, float32 ``[points, points]``, little-endian, in
            base64; NaN where unknown.
        paired: Whether these are of pairs, not as if points were independent.
        known: Whether any is known.
        judged: Whether the star is the cheapest point that is not worse, not the compromise.
        drop: By how much the star may be worse than the best point.
        words: What each point costs against the float model.
        right: By split, for each point which images it decides right, one bit for each, in base64; None
            where that is not known.
        images: By split, how many images these are.
    """

    rows: list[int]
    quality: list[float]
    costs: list[list[float]]
    tolerances: list[float]
    errors: dict[str, list[float]]
    pairs: str
    paired: bool
    known: bool
    judged: bool
    drop: float
    words: list[str]
    right: dict[str, list[str | None]]
    images: dict[str, int]


@dataclass(frozen=True)
class RunDocument:
    """A run as its report shows it; lists of trials are in the order of ``trials.csv``.

    Attributes:
        name: Of the run.
        subject: Model and data in words.
        facts: Label and text of each fact.
        notes: What a reader must know beside the figures.
        axes: What points can be drawn against.
        x: Key of the axis that is drawn across at first.
        y: Key of the one that is drawn up.
        objectives: What decides which points are on the front.
        groups: What a trial may be.
        trial: Numbers.
        group: Positions in ``groups``.
        reason: Why a trial is not on the front; empty where it is.
        genes: The chosen width of every gene as a digit, its position in ``widths``.
        widths: Bits, ascending.
        gene_names: As in the tables, in the order of the digits.
        gene_places: Encoder, kind and layer of each gene; None where it covers all of them.
        settled: Bits of genes that were not searched, by name.
        values: By axis, the value of each trial; NaN where unknown.
        front: The front.
        star: Trial of the starred point; None where the front is empty.
        star_note: Why that one.
        shortlist: Trials of the listed points, each with those that it stands for.
        references: Name and values by axis of models that were not searched.
        limits: Key of the axis, side, threshold and words of each limit in force.
        history: Evaluations and the hypervolume after them.
        reference_point: Of that, in words.
        export: The command that exports a point, all but its trial.
    """

    name: str
    subject: str
    facts: list[tuple[str, str]]
    notes: list[str]
    axes: list[Axis]
    x: str
    y: str
    objectives: list[Objective]
    groups: list[str]
    trial: list[int]
    group: list[int]
    reason: list[str]
    genes: list[str]
    widths: list[int]
    gene_names: list[str]
    gene_places: list[tuple[int, str | None, str | None]]
    settled: dict[str, int]
    values: dict[str, list[float]]
    front: FrontDocument
    star: int | None
    star_note: str
    shortlist: list[list[int]]
    references: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    history: list[tuple[int, float]]
    reference_point: str
    export: str

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values: null for NaN, numbers to seven significant digits."""
        document: dict[str, Any] = _plain(asdict(self))
        document["objectives"] = [_plain(objective._asdict()) for objective in self.objectives]
        return document


def run_document(run: RecordedRun) -> RunDocument:
    """What the report of a run shows."""
    reasons, axes, rows = reasons_of(run), _axes(run), front_rows(run)
    values = {axis.key: _column(run, axis.key) for axis in axes}
    star, listed = default_choice(run), shortlist_of(run)
    return RunDocument(
        name=run.name,
        subject=subject(run).removeprefix(", "),
        facts=[(fact.label, fact.text) for fact in run_facts(run)],
        notes=[
            *shortlist_notes(run, rows),
            *accuracy_notes(run, rows),
            *latency_notes(run, rows),
            *failure_notes(run),
        ],
        axes=axes,
        x="size" if "size" in values else axes[0].key,
        y=_quality_key(run),
        objectives=[_objective(run, name) for name in run.objectives],
        groups=list(GROUPS),
        trial=run.trials["trial"].astype(int).tolist(),
        group=[GROUPS.index(reason.group) for reason in reasons],
        reason=[reason.words for reason in reasons],
        genes=_digits(run),
        widths=_widths(run),
        gene_names=[gene.name for gene in run.genes],
        gene_places=[(gene.encoder, gene.kind, gene.layer) for gene in run.genes],
        settled=dict(run.settled),
        values={key: column.tolist() for key, column in values.items()},
        front=_front(run),
        star=star.trial if star else None,
        star_note=star_note(run, star),
        shortlist=[[point.trial, *point.alike, *point.near] for point in listed.values()],
        references=[
            {"name": reference.name, "values": _reference_values(run, reference, axes)}
            for reference in run.references
        ],
        limits=_limits(run, axes),
        history=[(int(n), float(v)) for n, v in run.summary.get("hypervolume_history") or []],
        reference_point=reference_point(run),
        export=command_line("export", run.name, "--pick"),
    )


def _quality_key(run: RecordedRun) -> str:
    """The axis that points are judged by: the estimate where the run has one."""
    name = run.quality.name
    return f"{name}{ESTIMATE}" if f"{name}{ESTIMATE}" in run.front.columns else name


def _axes(run: RecordedRun) -> list[Axis]:
    """What is known of any trial, the quality first, then costs, then further metrics and bits."""
    quality, known = run.quality, {*run.trials.columns, *run.front.columns}
    found: list[Axis] = []
    if _quality_key(run) != quality.name:
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
    found += [Axis(key, title, short, unit, -1, digits, "cost") for key, title, short, unit, digits in costs]
    for metric in run.schema.task.measured(run.schema.further):
        if metric.name != quality.name and metric.name in known:
            further = _metric(metric, metric.name, " on the search split")
            found.append(replace(further, main=metric.name in run.objectives))
    for kind, letter in zip(KINDS, "WAT", strict=True):
        found.append(Axis(f"bits_{kind}", f"mean bits of {kind}", f"bits {letter}", "bits", -1, 1, "bits"))
    return [axis for axis in found if np.isfinite(_column(run, axis.key)).any()]


def _metric(metric: Metric, key: str, where: str, short: str = "") -> Axis:
    unit = f" ({metric.unit})" if metric.unit else ""
    better, decimals = int(metric.sign), metric.shown_decimals
    title = f"{metric.title}{where}{unit}"
    return Axis(key, title, f"{metric.title}{short}", metric.unit, better, decimals, "metric")


def _column(run: RecordedRun, key: str) -> Floats:
    """The values of an axis by trial; what is known of the front alone is NaN elsewhere."""
    table = run.trials
    if key.startswith("bits_"):
        return _mean_bits(run)[:, KINDS.index(key.removeprefix("bits_"))]
    column = {"size": "size_bytes", "latency": "latency_ms", "measured": "latency_measured_ms"}.get(key, key)
    found = np.full(len(table), np.nan)
    if column in table.columns:
        found = table[column].to_numpy(dtype=np.float64)
    if column in run.front.columns:
        own = table["trial"].map(run.front.set_index("trial")[column]).to_numpy(dtype=np.float64)
        found = np.where(np.isfinite(own), own, found)
    return found * (_MB if key == "size" else 1.0)


def _mean_bits(run: RecordedRun) -> Floats:
    genes = (*run.genes, *gene_columns_named(run.settled))
    rows = ({**run.settled, **row} for row in run.trials[[g.name for g in run.genes]].to_dict("records"))
    found = [mean_bits({str(k): v for k, v in row.items()}, genes) for row in rows]
    return np.array(found, dtype=np.float64).reshape(-1, len(KINDS))


def _widths(run: RecordedRun) -> list[int]:
    seen = run.trials[[gene.name for gene in run.genes]].to_numpy(dtype=np.float64)
    widths = {int(width) for width in run.evaluation.get("widths") or ()}
    return sorted(widths | {int(width) for width in np.unique(seen[np.isfinite(seen)])})


def _digits(run: RecordedRun) -> list[str]:
    """A digit for each gene; there are fewer than ten widths. A width that is not recorded is a hyphen."""
    places = {width: f"{place}" for place, width in enumerate(_widths(run))}
    rows = run.trials[[gene.name for gene in run.genes]].to_numpy(dtype=np.float64)
    return ["".join(places.get(width, "-") for width in row) for row in rows.tolist()]


def _objective(run: RecordedRun, name: str) -> Objective:
    found = objective_named(name, run.schema.task)
    if name in COSTS:
        return Objective(name, -1, found.least * (_MB if name == "size" else 1.0), None, cost=True)
    key = _quality_key(run) if name == run.quality.name else name
    best = found.span(0)[0] if found.span is not None else None
    return Objective(key, 1 if found.direction == "maximise" else -1, found.least, best, cost=False)


def _front(run: RecordedRun) -> FrontDocument:
    place = {int(trial): position for position, trial in enumerate(run.trials["trial"].tolist())}
    numbers = [int(trial) for trial in run.front["trial"].tolist()]
    if not numbers:
        return FrontDocument([], [], [], [], {}, "", False, False, False, 0.0, [], {}, {})
    found, rows = evidence_of(run), {row.name: row for row in front_rows(run)}
    judged = any(name not in COSTS for name in run.objectives) and found.costs.shape[1] > 0
    tested = [rows[str(number)].test_difference for number in numbers]
    errors = {
        _quality_key(run): found.errors,
        f"test_{run.quality.name}": np.array(
            [math.nan if d is None or d.error is None else d.error for d in tested], dtype=np.float64
        ),
    }
    if noise := latency_noise(run):
        errors["latency"] = noise * run.front["latency_ms"].to_numpy(dtype=np.float64)
    right, images = _right(run)
    return FrontDocument(
        rows=[place[number] for number in numbers],
        quality=found.quality.tolist(),
        costs=found.costs.tolist(),
        tolerances=list(found.tolerances),
        errors={key: column.tolist() for key, column in errors.items() if np.isfinite(column).any()},
        pairs=base64.b64encode(found.differences.errors.astype("<f4").tobytes()).decode(),
        paired=found.differences.paired,
        known=found.differences.known,
        judged=judged,
        drop=found.drop,
        words=[rows[str(number)].words for number in numbers],
        right=right,
        images=images,
    )


def _right(run: RecordedRun) -> tuple[dict[str, list[str | None]], dict[str, int]]:
    """Which images each point of the front decides right, by split."""
    right, images = dict[str, list[str | None]](), dict[str, int]()
    splits: tuple[Literal["search"], Literal["test"]] = ("search", "test")
    for split in splits:
        known = run.right_images(split)
        own = [known.get(str(digest)) for digest in run.front["digest"]]
        counts = {len(bits) for bits in own if bits is not None}
        if len(counts) == 1:
            images[split] = counts.pop()
            right[split] = [
                None if bits is None else base64.b64encode(np.packbits(bits).tobytes()).decode()
                for bits in own
            ]
    return right, images


def _reference_values(run: RecordedRun, reference: Any, axes: Sequence[Axis]) -> dict[str, float]:
    timed = reference.latency_source in ("", run.latency_source)
    quality = run.quality.name
    known: dict[str, float | None] = {
        **reference.values,
        **{f"test_{name}": value for name, value in reference.test_values.items()},
        "size": reference.size_bytes * _MB,
        "latency": reference.latency_ms if timed else None,
        "measured": reference.latency_measured_ms,
        f"{quality}{ESTIMATE}": reference.values.get(quality),
    }
    return {
        axis.key: float(value)
        for axis in axes
        if (value := known.get(axis.key)) is not None and math.isfinite(value)
    }


def _limits(run: RecordedRun, axes: Sequence[Axis]) -> list[dict[str, Any]]:
    keys = {"size_bytes": ("size", _MB), "latency_ms": ("latency", 1.0)}
    there, found = {axis.key for axis in axes}, []
    for limit in run.limits:
        key, scale = keys.get(limit.column, (limit.column, 1.0))
        if key in there:
            words = f"{limit.label}: {limit.side} {limit.describe(limit.threshold)}"
            known = {"key": key, "side": limit.side, "threshold": limit.threshold * scale, "words": words}
            found.append(known)
    return found


def _plain(value: Any) -> Any:
    """JSON values: NaN and infinities are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return _rounded(value)
    return value


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
