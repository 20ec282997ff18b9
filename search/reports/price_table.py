"""One run by several latency sources: a table of points with their times, and which fronts they are on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bitfront.search.export.selection import default_choice, on_all
from bitfront.search.problem.wording import MISSING, megabytes, milliseconds, percent
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.front_rows import FrontRow, front_rows, price_notes, star_note
from bitfront.search.reports.front_table import STAR, front_document, heading
from bitfront.search.reports.tables import Table
from bitfront.search.runs.names import run_command
from bitfront.search.runs.reader import RecordedRun

LISTED, ON_FRONT, ELSEWHERE = "\N{BLACK CIRCLE}", "\N{WHITE CIRCLE}", " "
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def prices_document(runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """The fronts of a run by several sources as JSON, and the trials that are on all of them.

    Args:
        runs: The same run by each source.
    """
    return {"run": runs[0].name, "on_all": on_all(runs), "by_source": [front_document(run) for run in runs]}


def print_prices(runs: Sequence[RecordedRun], everything: bool = False, words: Sequence[str] = ()) -> None:
    """Prints what each point takes by each source, which fronts it is on, and what is starred there.

    Args:
        runs: The same run by each source; at least two.
        everything: Whether all points of all fronts are listed, not those alone that are listed on one of
            them or on all fronts.
        words: Options that name the sources and limits, for the command that lists all.
    """
    console, shared = stdout_console(), on_all(runs)
    by_run = [{row.name: row for row in front_rows(run)} for run in runs]
    stars = [default_choice(run) for run in runs]
    shown, hidden = _shown(by_run, shared, everything)
    for letter, run in zip(_LETTERS, runs, strict=False):
        console.print(f"{letter}  {heading(run)}", soft_wrap=True)
    console.print()
    console.print(_table(runs, by_run, shown, not console.is_terminal))
    console.print()
    lines = [
        f"{letter} {STAR} {star_note(run, star) or 'no point is on this front'}"
        for letter, run, star in zip(_LETTERS, runs, stars, strict=False)
    ]
    common = ", ".join(map(str, shared))
    lines.append(f"on all fronts: {common}" if shared else "no point is on all fronts")
    if hidden:
        command = run_command(runs[0].path, "front", runs[0].name, *words, "--all")
        lines.append(f"{hidden} more points are on some of the fronts; all of them: {command}")
    print_lines(console, lines)
    notes = [
        f"{letter} {note}"
        for letter, run in zip(_LETTERS, runs, strict=False)
        for note in (price_notes(run) or [f"prices: those that the search went by, {run.latency_source}"])
    ]
    legend = f"{STAR} starred, {LISTED} listed, {ON_FRONT} on the front behind a listed one; MB = 10^6 bytes"
    print_lines(console, [legend, *notes], style="dim")


def _shown(
    by_run: Sequence[dict[str, FrontRow]], shared: Sequence[int], everything: bool
) -> tuple[list[FrontRow], int]:
    """Rows of points that are shown, by size, reference models first; and how many are not."""
    every = {name: row for rows in reversed(by_run) for name, row in rows.items()}
    common = set(map(str, shared))
    listed = {name for rows in by_run for name, row in rows.items() if row.listed}
    kept = [row for name, row in every.items() if everything or name in listed or name in common]
    ordered = sorted(kept, key=lambda row: (not row.reference, row.size_bytes if not row.reference else 0.0))
    return ordered, len(every) - len(kept)


def _table(
    runs: Sequence[RecordedRun], by_run: Sequence[dict[str, FrontRow]], shown: Sequence[FrontRow], plain: bool
) -> Table:
    metric = runs[0].quality
    estimated = any(not math.isnan(row.estimate) for row in shown)
    quality = "estimate\n\N{PLUS-MINUS SIGN} s.e." if estimated else f"{metric.title}\n{metric.unit}"
    letters = [f"{letter}\nms" for letter, _ in zip(_LETTERS, runs, strict=False)]
    columns = ["trial", quality, "size\nMB", "mean bits\nW   A   T", *letters]
    table = Table(columns, (), lines=not plain, unbroken=range(len(columns)))
    times = [_times(run) for run in runs]
    slowest = [max((own.get(row.name, 0.0) for row in shown), default=0.0) for own in times]
    largest = max((row.size_bytes for row in shown), default=0.0)
    decimals = metric.shown_decimals
    for position, row in enumerate(shown):
        worth = percent(row.quality, decimals)
        if not math.isnan(row.estimate):
            worth = f"{row.estimate:.{decimals}f} \N{PLUS-MINUS SIGN} {row.estimate_error:.{decimals}f}"
        cells = [
            _mark(rows.get(row.name))
            + " "
            + milliseconds(own.get(row.name, math.nan), longest if longest > 0 else None)
            for rows, own, longest in zip(by_run, times, slowest, strict=True)
        ]
        bits = " ".join(MISSING if math.isnan(value) else f"{value:3.{value < 10:d}f}" for value in row.bits)
        ends = row.reference and not (position + 1 < len(shown) and shown[position + 1].reference)
        starred = any((found := rows.get(row.name)) is not None and found.knee for rows in by_run)
        style = "dim" if row.reference else "bold" if starred else ""
        table.add(
            row.name,
            worth,
            megabytes(row.size_bytes, largest),
            bits,
            *cells,
            style="" if plain else style,
            ends_section=ends,
        )
    return table


def _times(run: RecordedRun) -> dict[str, float]:
    """Milliseconds of every trial and reference model."""
    known = zip(run.trials["trial"], run.trials["latency_ms"], strict=True)
    own = {reference.name: reference.latency_ms for reference in run.references}
    return own | {str(int(trial)): float(value) for trial, value in known}


def _mark(row: FrontRow | None) -> str:
    if row is None or row.reference:
        return ELSEWHERE
    return STAR if row.knee else LISTED if row.listed else ON_FRONT
