"""Tables for a person: the front of a run and the list of runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import PurePath
from textwrap import fill
from typing import Any

from bitfront.search.export.selection import default_choice
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.objectives import ESTIMATE, ESTIMATE_ERROR
from bitfront.search.problem.wording import (
    MISSING,
    difference,
    further_costs,
    is_modelled,
    megabytes,
    milliseconds,
    percent,
    points,
    quality,
    quantization,
)
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.front_order import in_order
from bitfront.search.reports.front_rows import (
    FrontRow,
    accuracy_notes,
    failure_notes,
    front_rows,
    latency_notes,
    price_notes,
    shortlist_notes,
    star_note,
)
from bitfront.search.reports.refined_rows import refined_notes, refined_rows, with_refined
from bitfront.search.reports.tables import Table
from bitfront.search.runs.columns import violation_column
from bitfront.search.runs.listing import RunSummary, run_state
from bitfront.search.runs.names import run_command
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces.formats import written_format
from bitfront.spaces.quantities import count_of

# Columns of a terminal, how many the front takes with both differences to the float model, and with words.
NARROW, WIDE, WITH_WORDS = 80, 104, 180
STAR = "\N{BLACK STAR}"
_QUIET = "dim"
_KNEE = "bold"


def front_table(
    run: RecordedRun, rows: Sequence[FrontRow], plain: bool = False, width: int = NARROW
) -> Table:
    """The front with the reference models on top and the default choice starred.

    Args:
        run: The run.
        rows: Its rows, as :func:`bitfront.search.reports.front_rows.front_rows` gives them.
        plain: Whether to leave out lines, for a file or a pipe.
        width: Columns of the terminal. Where they are few, differences to float take the place of the share
            of its size, and are those of the test split alone once there are some. Where they are many, what
            each point costs in words comes last. Estimates take the place of differences on the search split,
            or of what was counted there.
    """
    measured = not all(math.isnan(row.latency_measured_ms) for row in rows)
    tested = any(row.test_difference for row in rows)
    searched = any(row.difference for row in rows)
    metric = run.quality
    estimated = any(not math.isnan(row.estimate) for row in rows)
    compared = (searched or estimated) and not (tested and width < WIDE)
    shared = width >= WIDE or not (searched or tested)
    against = "vs float\n\N{PLUS-MINUS SIGN} s.e."
    unit = metric.unit or "score"
    counted = not estimated or compared
    columns = [
        "trial",
        f"{metric.title if counted else 'estimate'}\n{unit}",
        *["estimate\n\N{PLUS-MINUS SIGN} s.e." if estimated else against] * compared,
        f"test\n{unit}",
        *[against] * tested,
    ]
    columns += ["modelled\nms" if is_modelled(run.latency_source) else "ms"]
    columns += ["measured\nms"] if measured else []
    columns += ["size\nMB", *["of\nfloat"] * shared]
    further = further_costs(set().union(*(row.further for row in rows)))
    columns += [f"{shown.cost.title}\n{shown.unit}" for shown in further]
    columns += ["mean bits\nW   A   T"]
    worded = width >= WITH_WORDS and any(row.words for row in rows)
    texts = (len(columns),) if worded else ()
    columns += ["against the float model"] * worded
    table = Table(columns, texts, lines=not plain, collapse_padding=True, unbroken=range(len(columns)))
    decimals = metric.shown_decimals
    largest_size = max((row.size_bytes for row in rows if not math.isnan(row.size_bytes)), default=0.0)
    most = {
        shown.cost.column: max(
            (v for row in rows if not math.isnan(v := row.further.get(shown.cost.column, math.nan))),
            default=0.0,
        )
        for shown in further
    }
    slowest = max((row.latency_ms for row in rows if not math.isnan(row.latency_ms)), default=0.0)
    for position, row in enumerate(rows):
        times = [row.latency_ms, row.latency_measured_ms] if measured else [row.latency_ms]
        cells = [
            f"{STAR} {row.name}" if row.knee else row.name,
            percent(row.quality if counted or math.isnan(row.estimate) else row.estimate, decimals),
            *[_estimate(row, decimals) if estimated else difference(row.difference, decimals)] * compared,
            percent(row.test_quality, decimals),
            *[difference(row.test_difference, decimals)] * tested,
            *(milliseconds(value, slowest) for value in times),
            megabytes(row.size_bytes, largest_size),
            *[MISSING if math.isnan(row.size_share) else f"{100 * row.size_share:.1f} %"] * shared,
            *(
                shown.text(row.further.get(shown.cost.column, math.nan), most[shown.cost.column])
                for shown in further
            ),
            " ".join(MISSING if math.isnan(value) else f"{value:3.{value < 10:d}f}" for value in row.bits),
            *[row.words] * worded,
        ]
        last_reference = row.reference and not (position + 1 < len(rows) and rows[position + 1].reference)
        style = _QUIET if row.reference else _KNEE if row.knee else ""
        table.add(*cells, style="" if plain else style, ends_section=last_reference)
    return table


def _estimate(row: FrontRow, decimals: int) -> str:
    """The estimate of a point with its error."""
    if math.isnan(row.estimate):
        return MISSING
    return f"{row.estimate:.{decimals}f} \N{PLUS-MINUS SIGN} {row.estimate_error:.{decimals}f}"


def runs_table(runs: Sequence[RunSummary], plain: bool = False) -> Table:
    """The list of runs, one to a line."""
    columns = ("run", "state", "evaluated", "front", "best\nquality", "smallest\nMB")
    last = len(columns)
    table = Table(
        (*columns, "model, data (scheme, recipe)"),
        texts=(0, 1, last),
        lines=not plain,
        collapse_padding=True,
        unbroken=range(last),
    )
    for run in runs:
        subject = ", ".join(part for part in (run.model, PurePath(run.data).name) if part)
        cells = [
            run.name,
            run.status,
            f"{run.evaluations}/{run.budget}" if run.budget else str(run.evaluations),
            str(run.front_points),
            _best(run),
            megabytes(run.smallest_bytes),
            f"{subject} ({run.quantization})" if run.quantization else subject,
        ]
        table.add(*cells)
    return table


def _best(run: RunSummary) -> str:
    """The best quality with the name of its metric, which runs of one list need not share."""
    if math.isnan(run.best_quality):
        return MISSING
    return f"{run.quality} {quality(run.best_quality, run.quality_unit)}"


def front_document(run: RecordedRun, by: str | None = None) -> dict[str, Any]:
    """The front as JSON: what was searched, reference models, points smallest first, the knee's trial.

    Args:
        run: The run.
        by: What points are sorted by instead; see :func:`bitfront.search.reports.front_order.in_order`.
    """
    rows, counted = in_order(run, front_rows(run), by), run.schema.task.counted
    star = default_choice(run)
    genes = {str(point["trial"]): point for point in run.front.to_dict("records")}
    names = [gene.name for gene in run.genes]
    bits = {row: {name: written_format(point[name]) for name in names} for row, point in genes.items()}
    return {
        "run": run.name,
        "prices": None if run.prices is None else dataclasses.asdict(run.prices),
        **{name: run.evaluation.get(name) for name in ("model", "data", "scheme", "recipe", "without")},
        "objectives": run.objectives,
        "latency_source": run.latency_source,
        "latency_measured_source": run.latency_measured_source,
        "stopped_because": run.summary.get("stopped_because"),
        "message": run.summary.get("message") or None,
        "hypervolume": run.summary.get("hypervolume"),
        "limits": [{**_limit(limit), "met": _met(run, limit)} for limit in run.limits],
        "within": [_limit(limit) for limit in run.narrowed],
        "failures": run.failures,
        "test_failures": run.summary.get("test_failures") or {},
        "knee": star.trial if star else None,
        "knee_reason": star_note(run, star),
        "shortlist": [int(row.name) for row in rows if row.listed and not row.reference],
        "references": [
            {"name": row.name, **_values(row._asdict(), counted)} for row in rows if row.reference
        ],
        "front": [
            {
                "trial": int(row.name),
                **_values(row._asdict(), counted),
                **_estimates(row, run.quality.name),
                "bits": bits[row.name],
                "listed": row.listed,
                "stands_for": row.stands_for,
                "in_words": row.words,
            }
            for row in rows
            if not row.reference
        ],
        "refined": [_refined(run, int(name), row) for name, row in refined_rows(run, rows).items()],
    }


def _refined(run: RecordedRun, trial: int, row: FrontRow) -> dict[str, Any]:
    """A refined point: the figures of its row, what refining brought, and what it was learned from."""
    point = run.refined_front[trial]
    gains = {split: compared.differences for split, compared in point.splits.items()}
    return {
        "trial": trial,
        **_values(row._asdict(), run.schema.task.counted),
        **_estimates(row, run.quality.name),
        "in_words": row.words,
        "gain": {
            split: {
                name: {"value": found.value, "standard_error": found.error} for name, found in each.items()
            }
            for split, each in gains.items()
        },
        "learned_from": point.images,
        "figures": dict(point.figures),
    }


def _limit(limit: Limit) -> dict[str, Any]:
    """A limit as it was asked for and what it came to."""
    return {
        "name": limit.name,
        "asked": limit.label,
        "column": limit.column,
        "side": limit.side,
        "bound": limit.threshold,
        "unit": limit.unit,
    }


def _met(run: RecordedRun, limit: Limit) -> bool | None:
    """Whether a configuration holds to a limit of the search; None while that is not known."""
    column = violation_column(limit.name).name
    known = run.trials[column].dropna() if column in run.trials.columns else None
    return None if known is None or known.empty else bool((known <= 0.0).any())


def _values(row: dict[str, Any], counted: str) -> dict[str, Any]:
    hidden = {"name", "reference", "knee", "bits", "difference", "test_difference", "test_quality", "metrics"}
    hidden |= {"stands_for", "alike", "near", "words", "estimate", "estimate_error", "estimated"}
    hidden |= set() if row["digest"] else {"digest"}
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key == "quality":
            values |= row["metrics"]
        elif key == "further":
            values |= row["further"]
        elif key not in hidden:
            values[key] = value
    size = row["size_bytes"]
    for name in ("against_float", "test_against_float"):
        values[name] = values[name] and values[name].to_json(counted)
    return {**values, "size_bytes": size if math.isnan(size) else int(size), "mean_bits": row["bits"]}


def _estimates(row: FrontRow, metric: str) -> dict[str, float]:
    """Under the names of their columns; nothing where there is no estimate."""
    if math.isnan(row.estimate):
        return {}
    return {f"{metric}{ESTIMATE}": row.estimate, f"{metric}{ESTIMATE_ERROR}": row.estimate_error}


def print_front(
    run: RecordedRun, everything: bool = False, by: str | None = None, options: Sequence[str] = ()
) -> None:
    """Prints a heading, the table of the shortlist or of ``everything``, and what its columns mean.

    Args:
        run: The run, which may be narrowed to limits.
        everything: Whether all points are listed.
        by: What they are sorted by; see :func:`bitfront.search.reports.front_order.in_order`.
        options: Words that say so and name the limits, for the command that lists all.
    """
    console = stdout_console()
    console.print(heading(run), soft_wrap=True)
    if run.front.empty:
        message = run.summary.get("message") or "no trial has met the limits so far"
        print_lines(console, [f"the front is empty: {message}", *price_notes(run), *failure_notes(run)])
        return
    every = in_order(run, front_rows(run), by)
    refined = refined_rows(run, every)
    shown = [row for row in every if everything or row.listed or row.name in refined]
    rows = with_refined(shown, refined)
    plain = not console.is_terminal
    console.print()
    console.print(front_table(run, rows, plain, console.width))
    if console.width < WITH_WORDS:
        console.print()
        print_lines(console, _in_words(rows, console.width))
    batch = f" for a batch of {run.latency_batch}" if run.latency_batch else ""
    batch += f" on {run.latency_threads} threads" if run.latency_threads != 1 else ""
    source = f"ms: {run.latency_source}{batch}; " if run.latency_source else ""
    splits = f"{run.quality.title} on the search split, test on the test split"
    if any(not math.isnan(row.estimate) for row in rows):
        splits += ", estimate: what all trials say of other images"
    star = f"{STAR} {star_note(run, default_choice(run))}"
    source += "".join(
        f"{shown.cost.title}: modelled{f' by {by}' if (by := run.spec.get(shown.cost.name)) else ''}; "
        for shown in further_costs(run.front.columns)
    )
    legend = f"{splits}; {source}MB = 10^6 bytes of the {run.size_of} file"
    console.print()
    notes = [*latency_notes(run, rows), *accuracy_notes(run, rows), *failure_notes(run)]
    notes += refined_notes(refined, any(not math.isnan(row.estimate) for row in rows))
    command = "" if everything else run_command(run.path, "front", run.name, *options, "--all")
    print_lines(console, [star, *shortlist_notes(run, every, command), *price_notes(run)])
    print_lines(console, [legend, *notes], style="dim")


def front_html(run: RecordedRun) -> str:
    """The heading and the front as HTML, for notebooks."""
    from html import escape

    if run.front.empty:
        return f"<p>{escape(heading(run))}</p>"
    every = front_rows(run)
    refined = refined_rows(run, every)
    shown = with_refined([row for row in every if row.listed or row.name in refined], refined)
    table = front_table(run, shown, width=WITH_WORDS).html()
    notes = [f"{STAR} {star_note(run, default_choice(run))}", *shortlist_notes(run, every, "front")]
    return f"<p>{escape(heading(run))}</p>{table}<p>{'<br>'.join(map(escape, notes))}</p>"


def _in_words(rows: Sequence[FrontRow], width: int) -> list[str]:
    """What each point costs, one below the other, for terminals that have no room beside the figures."""
    names = [f"{STAR} {row.name}" if row.knee else row.name for row in rows]
    room = max(map(len, names), default=0)
    lines = [f"{name:>{room}} {row.words}" for name, row in zip(names, rows, strict=True) if row.words]
    return [fill(line, width, subsequent_indent=" " * (room + 1)) for line in lines]


def heading(run: RecordedRun) -> str:
    """What was searched, within which limits, and how far it is, in one line."""
    model, data = run.evaluation.get("model", ""), run.evaluation.get("data", "")
    state = run_state(run.path, run.summary)
    limits = "".join(f", {limit.label}" for limit in run.limits)
    within = " ".join(["within", *(limit.origin for limit in run.narrowed)]) if run.narrowed else ""
    counts = " ".join(
        filter(None, [points(len(run.front)), within, f"from {count_of(len(run.trials), 'trial')}"])
    )
    return f"{run.title}: {model} ({quantization(run.evaluation)}) on {data}{limits}; {counts} ({state})"
