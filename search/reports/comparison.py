"""A comparison of samplers as Markdown, as CSV and as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitfront.evaluators import files
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table, markdown_page
from bitfront.spaces.quantities import count_of

Document = Mapping[str, Any]
_BOXES = {
    "tight": "tight box (from the best to the worst values of that front)",
    "fixed": "fixed box (that of `bitfront search`)",
}
# In characters: the names of samplers, and any other column with its quartiles.
_FIRST_WIDTH, _WIDTH = 17, 15
_FEWEST = 3
_MEGABYTES = 1e-6


def title(document: Document) -> str:
    """What was searched."""
    number = document["configurations"]
    counted = f"{number:,}" if number < 10**7 else f"{number:.1e}"
    return (
        f"{document['model']}, space {document['space']} ({count_of(document['genes'], 'gene')}, {counted} "
        f"configurations), objectives {', '.join(document['objectives'])}, {document['evaluations']} "
        "evaluations"
    )


def sections(document: Document) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """For each box a heading, the headings of its columns, and a row for each sampler."""
    boxes = document["goal"]["boxes"]
    for box in (name for name in _BOXES if name in boxes):
        columns = ["sampler", *map(str, document["marks"]), "to 99 %"]
        rows = [_row(sampler, box, document["evaluations"]) for sampler in document["samplers"]]
        share = f"share of that of {document['goal']['front']}"
        yield f"hypervolume in the {_BOXES[box]}, {share}", columns, rows
    if "test" in document:
        columns = ["sampler", *map(str, document["marks"])]
        rows = [[name, *map(_spread, marks)] for name, marks in document["test"]["samplers"].items()]
        heading = (
            f"hypervolume of the fronts on {document['test']['images']} test images, which no search used, "
            "share of that of all fronts together"
        )
        yield heading, columns, rows


def _spread(at: Document) -> str:
    return f"{at['median']:.3f} ({at['q1']:.3f}-{at['q3']:.3f})"


def _row(sampler: Document, box: str, evaluations: int) -> list[str]:
    marks = [_spread(at) for at in sampler["hypervolume"][box]]
    return [sampler["sampler"], *marks, _reached(sampler["to_99_percent"][box], evaluations)]


def _reached(spread: Document, evaluations: int) -> str:
    """Median evaluations and quartiles; those that were not reached are more than there were."""
    figures = [spread[name] for name in ("median", "q1", "q3")]
    median, q1, q3 = (f">{evaluations}" if n is None else f"{n:.0f}" for n in figures)
    return median if median == q1 == q3 else f"{median} ({q1}-{q3})"


def remarks(document: Document) -> list[str]:
    """What the figures mean, with the corners of the boxes."""
    seeds = {len(sampler["seeds"]) for sampler in document["samplers"]}
    counts = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    goal = document["goal"]
    lines = [
        f"median (lower to upper quartile) over {counts} seed{'s' * (seeds != {1})}, after so many distinct "
        "evaluations; feasible configurations only, all that were found so far",
        "to 99 %: evaluations until 99 % of that hypervolume",
        f"{goal['front']}: {count_of(goal['points'], 'point')}; all searches together evaluated "
        f"{count_of(document['evaluated'], 'configuration')}",
    ]
    lines += [f"{name} box: {_corners(goal['boxes'][name])}" for name in _BOXES if name in goal["boxes"]]
    lines += [_proposing(sampler) for sampler in document["samplers"]]
    if document["interrupted"]:
        lines.append("stopped before all searches were finished")
    return lines + [f"note: {note}" for note in document["notes"]]


def _corners(box: Document) -> str:
    """The corners, ideal first, and the hypervolume they are the box of."""
    shown = []
    for column, unit in box["units"].items():
        factor, unit = (_MEGABYTES, "MB") if unit == "bytes" else (1.0, unit)
        best, worst = (factor * box[name][column] for name in ("ideal_point", "reference_point"))
        shown.append(f"{column.removesuffix('_ms').removesuffix('_bytes')} {best:.4g} to {worst:.4g} {unit}")
    return (
        f"{', '.join(shown)} (ideal to reference point); the front's share of it is {box['hypervolume']:.4f}"
    )


def _proposing(sampler: Document) -> str:
    each = sampler["proposing_s"]["median"] / max(1, *sampler["evaluated"])
    reasons = ", ".join(sampler["reasons"])
    return (
        f"{sampler['sampler']}: {sampler['population']} at a time, {1e3 * each:.3g} ms of proposing for each "
        f"evaluation; ended because {reasons}"
    )


def csv_text(document: Document) -> str:
    """All curves: a row for each sampler, seed and number of evaluations."""
    boxes = list(document["goal"]["boxes"])
    header = ["sampler", "seed", "evaluations", *(f"hypervolume_{box}" for box in boxes)]
    rows = (
        [sampler["sampler"], seed, number, *values]
        for sampler in document["samplers"]
        for place, seed in enumerate(sampler["seeds"])
        for number, values in enumerate(zip(*(sampler["curves"][b][place] for b in boxes), strict=True), 1)
    )
    return files.csv_text(header, rows)


def markdown(document: Document) -> str:
    """The tables and what they mean, ready for a README."""
    tables = ((heading, Table(columns).extend(rows)) for heading, columns, rows in sections(document))
    return markdown_page(title(document), tables, remarks(document))


def print_comparison(document: Document, folder: Path) -> None:
    """Prints tables and remarks."""
    console = stdout_console()
    console.print(title(document), soft_wrap=True)
    for heading, columns, rows in sections(document):
        console.print(f"\n{heading}", soft_wrap=True)
        shown, cells = fitting(columns, rows, console.width)
        table = Table(shown, lines=console.is_terminal, unbroken=range(len(shown)))
        # Quartiles stand below the medians, where columns are many.
        table.extend([cell.replace(" (", "\n(") for cell in row] for row in cells)
        console.print(table)
    print_lines(console, remarks(document), style="dim")
    console.print(str(folder), soft_wrap=True)


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[str], list[list[str]]]:
    """As many columns as a terminal takes: of the marks every second one goes, and the last one stays."""
    kept = list(range(len(columns)))
    while len(kept) > _FEWEST and _FIRST_WIDTH + (len(kept) - 1) * _WIDTH > width:
        kept = [0, *kept[-2:0:-2][::-1], kept[-1]]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
