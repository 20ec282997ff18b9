"""Comparisons of models' assignments as the papers' tables: on a terminal, as CSV, Markdown and LaTeX."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bitfront.search.problem.wording import (
    MISSING,
    Difference,
    difference,
    is_modelled,
    megabytes,
    milliseconds,
    percent,
)
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.model_csv import csv_text
from bitfront.search.reports.model_findings import all_draws, all_marks, findings, labels, notes
from bitfront.search.reports.published import comparable, published
from bitfront.search.reports.tables import Table, latex_page, markdown_page, markdown_text
from bitfront.spaces import KINDS
from bitfront.spaces.quantities import count_of

Document = Mapping[str, Any]
Titled = Sequence[tuple[str, Document]]
TERMINAL, CSV, MARKDOWN, LATEX = FORMATS = ("terminal", "csv", "markdown", "latex")
_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_TITLE = "Assignments of 4 and 8 bits: uniform, stochastic and searched"


class Section(NamedTuple):
    """A table below its heading."""

    heading: str
    table: Table


def formatted(documents: Sequence[Document], form: str) -> str:
    """The tables of comparisons as a text: CSV, LaTeX, or Markdown, which a text file is as well."""
    if form == CSV:
        return csv_text(documents)
    if form == LATEX:
        return latex_page(findings(documents), sections(documents), notes(documents))
    tables = ((markdown_text(heading), table) for heading, table in sections(documents))
    leading = (f"**{markdown_text(line)}**" for line in findings(documents))
    return markdown_page(f"# {_TITLE}", tables, map(markdown_text, notes(documents)), leading=leading)


def print_tables(documents: Sequence[Document], folders: Iterable[Path]) -> None:
    """Prints the tables, and before them what they come to."""
    console = stdout_console()
    print_lines(console, findings(documents), style="bold")
    for heading, table in sections(documents):
        console.print(f"\n{heading}", soft_wrap=True)
        table.lines = console.is_terminal
        console.print(table)
    console.print()
    print_lines(console, notes(documents), style="dim")
    print_lines(console, map(str, folders))


def sections(documents: Sequence[Document]) -> Iterator[Section]:
    """The tables: assignments, generations, published figures where ours may stand beside them, and bits."""
    titled = list(zip(labels(documents), documents, strict=True))
    title = documents[0]["metric"]["title"]
    yield Section(f"{title}, time and size", _assignments(titled, title))
    if any(document["searches"] for document in documents):
        heading = f"{title} after generations, at no more than the searched assignment's size and time"
        yield Section(heading, _generations(titled, title))
    beside = [(label, document) for label, document in titled if comparable(document) is not None]
    if beside:
        yield Section(f"{title}, %, beside that of {published().where}", _published(beside))
    for label, document in titled:
        for search in document["searches"]:
            seed = f", seed {search['seed']}" if len(document["searches"]) > 1 else ""
            yield Section(f"bits of every encoder: {label}{seed}", _bits(document, search))


class _Row(NamedTuple):
    """One assignment of a model: texts, and the costs whose decimals depend on the others."""

    name: str
    test: str
    against: str
    search: str
    costs: tuple[float | None, float | None]


def _assignments(titled: Titled, title: str) -> Table:
    kinds = {is_modelled(document["latency_source"]) for _, document in titled}
    of_all = "" if len(kinds) > 1 else " (modelled)" if True in kinds else " (measured)"
    headings = ["model", "assignment", f"{title}, %", "against 8 bit", "on search images", f"ms{of_all}"]
    table = Table([*headings, "MB"], texts=(0, 1))
    for label, document in titled:
        rows = list(_rows(document))
        marked = "" if of_all else f" {'modelled' if is_modelled(document['latency_source']) else 'measured'}"
        times, sizes = zip(*(row.costs for row in rows), strict=True)
        for place, row in enumerate(rows):
            time, size = row.costs
            table.add(
                label if place == 0 else "",
                *row[:-1],
                _number(time, milliseconds, times) + marked * (time is not None),
                _number(size, megabytes, sizes),
                ends_section=place == len(rows) - 1,
            )
    return table


def _rows(document: Document) -> Iterator[_Row]:
    """Means over draws and over seeds have their standard deviation."""
    found, searches, draws = document["differences"], document["searches"], all_draws(document)
    of_eight = _negative(found.get("eight_bit_to_float"))
    whole = "float, random weights" if document["random_weights"] else "float"
    for name, entry, against in ((whole, document["float"], of_eight), ("W8A8T8", document["eight_bit"], "")):
        yield _Row(name, _percent(entry["test"]), against, _percent(entry["search"]), _costs([entry]))
    if draws:
        against = _difference(found.get("stochastic_to_eight_bit"))
        tests = _spread(_known(draws, "test"))
        yield _Row(f"stochastic, {count_of(len(draws), 'draw')}", tests, against, "", _costs(draws))
        ranked = sorted((d for d in draws if d["test"] is not None), key=lambda draw: -draw["test"])
        for name, draw in (("the best", ranked[:1]), ("the worst", ranked[-1:])) if len(ranked) > 1 else ():
            yield _Row(f"stochastic, {name}", _spread(_known(draw, "test")), "", "", _costs(draw))
    if searches:
        name = "search" if len(searches) == 1 else f"search, {count_of(len(searches), 'seed')}"
        tests, seen = (_spread(_known(searches, side)) for side in ("test", "search"))
        against = _difference(found.get("search_to_eight_bit"))
        yield _Row(name, tests, against, seen, _costs(searches))


def _generations(titled: Titled, title: str) -> Table:
    marks = sorted({mark["generations"] for _, document in titled for mark in all_marks(document)})
    table = Table(["model", "", *map(str, marks)], texts=(0, 1))
    figures: tuple[tuple[str, Callable[[Document], float | None], int], ...] = (
        (f"{title}, %", lambda mark: (mark["best"] or {}).get("test"), 2),
        ("on search images", lambda mark: (mark["best"] or {}).get("search"), 2),
        ("evaluations", lambda mark: mark["evaluations"], 0),
        ("hypervolume, share", lambda mark: mark["hypervolume_share"], 3),
    )
    for label, document in titled:
        for place, (name, value, decimals) in enumerate(figures if document["searches"] else ()):
            cells = []
            for count in marks:
                found = [value(mark) for mark in all_marks(document) if mark["generations"] == count]
                cells.append(_spread([one for one in found if one is not None], decimals, len(found)))
            table.add("" if place else label, name, *cells, ends_section=place == len(figures) - 1)
    return table


def _published(titled: Titled) -> Table:
    marks = tuple(next(iter(published().models.values())).after)
    after = [f"after {count}" for count in marks]
    table = Table(["model", "", "W8A8T8", "stochastic", "search", *after], texts=(0, 1))
    for label, document in titled:
        paper = comparable(document)
        assert paper is not None, "only what is comparable stands here"
        theirs = (paper.eight_bit, paper.stochastic, paper.search, *paper.after.values())
        table.add(label, f"published ({paper.name})", *(percent(value) for value in theirs))
        best = [
            [mark["best"] for mark in all_marks(document) if mark["generations"] == count and mark["best"]]
            for count in marks
        ]
        ours = ([document["eight_bit"]], all_draws(document), document["searches"], *best)
        tests = (_spread(_known(entries, "test")) for entries in ours)
        table.add("", f"ours, {document['images']['test']:,} images", *tests, ends_section=True)
    return table


def _bits(document: Document, search: Document) -> Table:
    table = Table(["encoder", *KINDS])
    for name, bits in zip(document["encoders"], search["bits"], strict=True):
        table.add(name, *map(str, bits))
    return table


def _known(entries: Iterable[Document], name: str) -> list[float]:
    return [float(entry[name]) for entry in entries if entry[name] is not None]


def _costs(entries: Sequence[Document]) -> tuple[float | None, float | None]:
    """Mean time in milliseconds and size in bytes."""
    times, sizes = (_known(entries, name) for name in ("latency_ms", "size_bytes"))
    return statistics.fmean(times) if times else None, statistics.fmean(sizes) if sizes else None


def _spread(values: Sequence[float], decimals: int = 2, asked: int = 0) -> str:
    """A mean, with the standard deviation of several values, and of how many they are where some lack."""
    if not values:
        return MISSING
    text = f"{statistics.fmean(values):,.{decimals}f}"
    if len(values) > 1 and (decimals or len(set(values)) > 1):  # equal counts have no spread
        text += f" {_PLUS_MINUS} {statistics.stdev(values):.{decimals}f}"
    return f"{text} ({len(values)} of {asked})" if len(values) < asked else text


def _percent(value: float | None) -> str:
    return MISSING if value is None else percent(value)


def _difference(found: Document | None) -> str:
    return MISSING if found is None else difference(Difference(found["value"], found["error"]))


def _negative(found: Document | None) -> str:
    """The same the other way round."""
    return _difference(None if found is None else {**found, "value": 0.0 - found["value"]})


def _number(value: float | None, text: Callable[[float, float], str], column: Sequence[float | None]) -> str:
    largest = max((one for one in column if one is not None), default=0.0)
    return MISSING if value is None else text(value, largest)
