"""A study as a person reads it on a terminal, and as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitfront.evaluators import files
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.published_study import published_study, quality_comparable, times_comparable
from bitfront.search.reports.study_remarks import remarks, title
from bitfront.search.reports.study_tables import error_of, published_times, sections
from bitfront.search.reports.tables import latex_page, markdown_page, markdown_text

Document = Mapping[str, Any]
TERMINAL, CSV, MARKDOWN, LATEX = FORMATS = ("terminal", "csv", "markdown", "latex")
_COLUMNS = ("table", "model", "arithmetic", "runtime", "batch", "split", "figure", "value", "standard_error")
_PUBLISHED_TIMES = ("p50_ms", "p90_ms", "images_per_second", "peak_rss_mb")
_TIMED = ("p50_ms", "p90_ms", "images_per_second", "peak_rss_bytes", "file_bytes")


def formatted(figures: Document, form: str) -> str:
    """The tables of a study as a text: CSV, LaTeX, or Markdown, which a text file is as well."""
    if form == CSV:
        return csv_text(figures)
    if form == LATEX:
        return latex_page([title(figures)], sections(figures), remarks(figures))
    tables = ((markdown_text(heading), table) for heading, table in sections(figures))
    return markdown_page(f"# {markdown_text(title(figures))}", tables, map(markdown_text, remarks(figures)))


def print_study(figures: Document, folder: Path) -> None:
    """Prints the tables and what they mean."""
    console = stdout_console()
    console.print(title(figures), style="bold", soft_wrap=True)
    for heading, table in sections(figures):
        console.print(f"\n{heading}\n", soft_wrap=True)
        table.lines = console.is_terminal
        console.print(table)
    console.print()
    print_lines(console, remarks(figures), style="dim")
    print_lines(console, [str(folder)])


def csv_text(figures: Document) -> str:
    """A row for each figure of each table; metrics in percent, differences in points, sizes in bytes."""
    rows = (*_quality_rows(figures), *_ablation_rows(figures), *_time_rows(figures))
    return files.csv_text(_COLUMNS, rows)


Row = tuple[Any, ...]
_CALLED = {"search": "validation", "test": "test"}


def _quality_rows(figures: Document) -> Iterator[Row]:
    for variant in figures["variants"]:
        named = ("quality", variant["name"], variant["arithmetic"], None, None)
        for split, called in _CALLED.items():
            for metric in figures["metrics"]:
                figure = variant[split][metric]
                yield (*named, called, metric, figure[0], error_of(figure))
        yield (*named, None, "file_bytes", variant["file_bytes"], None)
    if quality_comparable(figures):
        for known in published_study().variants:
            named = ("published", known["name"], known["arithmetic"], None, None)
            for split, called in _CALLED.items():
                for metric, value in zip(figures["metrics"], known[split], strict=True):
                    yield (*named, called, metric, value, None)


def _ablation_rows(figures: Document) -> Iterator[Row]:
    for step in figures["ablation"]:
        for split, called in _CALLED.items():
            for metric in figures["metrics"]:
                named = ("ablation", step["step"], None, None, None, called)
                yield (*named, metric, step[split][metric][0], error_of(step[split][metric]))
                if "difference" in step:
                    found = step["difference"][split][metric]
                    yield (*named, f"{metric}_difference", found[0], error_of(found))


def _time_rows(figures: Document) -> Iterator[Row]:
    beside = times_comparable(figures)
    for timed in figures["times"]:
        for row in timed["rows"]:
            named = (row["model"], row["variant"], row["runtime"], timed["batch"], None)
            for name in _TIMED:
                yield ("times", *named, name, row[name], None)
            theirs = published_times(row, timed["batch"]) if beside else None
            for name, value in zip(_PUBLISHED_TIMES, theirs or (), strict=False):
                if value is not None:
                    yield ("published times", *named, name, value, None)
