"""What the report of a run holds, as values: trials with reasons, axes, and what tells its front apart.

Everything that a browser shows is in :class:`RunDocument`. What it computes itself, as limits move (the
points within them, the star and the shortlist), it computes from ``front`` by the rules of
``search/export/selection.py`` and ``search/estimation/shortlist.py``.
"""

from __future__ import annotations

import base64
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitfront.search.export.evidence import evidence_of, latency_noise
from bitfront.search.export.selection import default_choice, shortlist_of
from bitfront.search.problem.objectives import COSTS, ESTIMATE
from bitfront.search.reports.front_rows import (
    accuracy_notes,
    failure_notes,
    front_rows,
    latency_notes,
    price_notes,
    shortlist_notes,
    star_note,
)
from bitfront.search.reports.interactive.axes import (
    Axis,
    Objective,
    axes_of,
    column_of,
    objective_of,
    quality_key,
    scale_of,
)
from bitfront.search.reports.interactive.facts import run_facts
from bitfront.search.reports.interactive.reasons import GROUPS, reasons_of
from bitfront.search.reports.interactive.refined import RefinedMark, refined_marks
from bitfront.search.reports.plots.hypervolume import reference_point
from bitfront.search.reports.plots.run_plots import subject
from bitfront.search.runs.names import command_line
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import FORMATS, FormatName
from bitfront.spaces.formats import in_order, written_format

Floats = NDArray[np.float64]
# Significant digits of figures that are shown, and of those that decide.
_DIGITS, _EXACT = 7, 17
_DIGITS_OF_36 = string.digits + string.ascii_lowercase


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
        genes: The chosen format of every gene as a digit to the base 36, its position in ``widths``.
        widths: Formats, narrow to wide.
        width_labels: What each is called where room is short, such as ``8a``.
        width_titles: What each is called in texts, such as ``8 bits``.
        gene_names: As in the tables, in the order of the digits.
        gene_places: Encoder, kind and layer of each gene; None where it covers all of them.
        settled: Formats of genes that were not searched, by name.
        values: By axis, the value of each trial; NaN where unknown.
        front: The front.
        star: Trial of the starred point; None where the front is empty.
        star_note: Why that one.
        shortlist: Trials of the listed points, each with those that it stands for.
        references: Name and values by axis of models that were not searched.
        refined: Points of the front as they were refined; see
            :class:`~bitfront.search.reports.interactive.refined.RefinedMark`.
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
    widths: list[FormatName]
    width_labels: list[str]
    width_titles: list[str]
    gene_names: list[str]
    gene_places: list[tuple[int, str | None, str | None]]
    settled: dict[str, FormatName]
    values: dict[str, list[float]]
    front: FrontDocument
    star: int | None
    star_note: str
    shortlist: list[list[int]]
    references: list[dict[str, Any]]
    refined: list[RefinedMark]
    limits: list[dict[str, Any]]
    history: list[tuple[int, float]]
    reference_point: str
    export: str

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values: null for NaN, numbers to seven significant digits."""
        document: dict[str, Any] = _plain(asdict(self))
        # Whole: what is equal decides which point stands for which.
        exact = {"quality": self.front.quality, "costs": self.front.costs}
        document["front"] |= _plain(exact, _EXACT)
        document["objectives"] = [_plain(objective._asdict()) for objective in self.objectives]
        return document


def run_document(run: RecordedRun) -> RunDocument:
    """What the report of a run shows."""
    reasons, axes, rows = reasons_of(run), axes_of(run), front_rows(run)
    values = {axis.key: column_of(run, axis.key) for axis in axes}
    star, listed, genes = default_choice(run), shortlist_of(run), _genes(run)
    seen = {value for row in genes for value in row if value is not None}
    formats = list(in_order([*run.choices.every, *seen]))
    return RunDocument(
        name=run.title,
        subject=subject(run).removeprefix(", "),
        facts=[(fact.label, fact.text) for fact in run_facts(run)],
        notes=[
            *shortlist_notes(run, rows),
            *price_notes(run),
            *accuracy_notes(run, rows),
            *latency_notes(run, rows),
            *failure_notes(run),
        ],
        axes=axes,
        x="size" if "size" in values else axes[0].key,
        y=quality_key(run),
        objectives=[objective_of(run, name) for name in run.objectives],
        groups=list(GROUPS),
        trial=run.trials["trial"].astype(int).tolist(),
        group=[GROUPS.index(reason.group) for reason in reasons],
        reason=[reason.words for reason in reasons],
        genes=[_digits(row, formats) for row in genes],
        widths=formats,
        width_labels=[FORMATS[value].label for value in formats],
        width_titles=[FORMATS[value].title for value in formats],
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
        refined=refined_marks(run, axes, values),
        limits=_limits(run, axes),
        history=[(int(n), float(v)) for n, v in run.summary.get("hypervolume_history") or []],
        reference_point=reference_point(run),
        export=command_line("export", run.name, *(run.prices.words if run.prices else ()), "--pick"),
    )


def _genes(run: RecordedRun) -> list[list[FormatName | None]]:
    """The formats of each trial; None for one that is not recorded."""
    rows = run.trials[[gene.name for gene in run.genes]].to_numpy().tolist()
    return [[written_format(value) for value in row] for row in rows]


def _digits(row: Sequence[FormatName | None], formats: Sequence[FormatName]) -> str:
    """A digit for each gene: there are fewer than 36 formats. One that is not recorded is a hyphen."""
    return "".join("-" if value is None else _DIGITS_OF_36[formats.index(value)] for value in row)


def _front(run: RecordedRun) -> FrontDocument:
    place = {int(trial): position for position, trial in enumerate(run.trials["trial"].tolist())}
    numbers = [int(trial) for trial in run.front["trial"].tolist()]
    if not numbers:
        return FrontDocument([], [], [], [], {}, "", False, False, False, 0.0, [], {}, {})
    found, rows = evidence_of(run), {row.name: row for row in front_rows(run)}
    judged = any(name not in COSTS for name in run.objectives) and found.costs.shape[1] > 0
    tested = [rows[str(number)].test_difference for number in numbers]
    errors = {
        quality_key(run): found.errors,
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
        **{name: (reference.known(cost.column) or math.nan) * scale_of(name) for name, cost in COSTS.items()},
        **{f"test_{name}": value for name, value in reference.test_values.items()},
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
    keys = {cost.column: (name, scale_of(name)) for name, cost in COSTS.items()}
    there, found = {axis.key for axis in axes}, []
    for limit in run.limits:
        key, scale = keys.get(limit.column, (limit.column, 1.0))
        if key in there:
            words = f"{limit.label}: {limit.side} {limit.describe(limit.threshold)}"
            known = {"key": key, "side": limit.side, "threshold": limit.threshold * scale, "words": words}
            found.append(known)
    return found


def _plain(value: Any, digits: int = _DIGITS) -> Any:
    """JSON values: NaN and infinities are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, digits) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, digits) for entry in value]
    if isinstance(value, float):
        return _rounded(value, digits)
    return value


def _rounded(value: float, digits: int) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
