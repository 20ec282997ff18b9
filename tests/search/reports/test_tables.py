"""One table, as a terminal, a file and a Markdown page show it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bitfront.search.reports.tables import Table


def shown(table: Table, width: int = 40, terminal: bool = False) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def table() -> Table:
    return Table(("name", "MB\nof it")).extend([["first", "1.0"], ["a|b", "12.25"]])


def test_texts_stand_on_the_left_and_numbers_on_the_right(table: Table) -> None:
    assert shown(table) == ["          MB", "name   of it", "first    1.0", "a|b    12.25"]


def test_lines_are_drawn_below_headings_and_sections(table: Table) -> None:
    table.lines = True
    table.add("last", "3", ends_section=True)
    table.add("more", "4")
    lines = shown(table)
    assert [place for place, line in enumerate(lines) if line.startswith("─")] == [2]
    last = next(place for place, line in enumerate(lines) if line.strip().startswith("last"))
    assert lines[last + 1] == ""
    assert lines[last + 2].strip().startswith("more")


def test_columns_are_cut_or_broken_where_there_is_no_room() -> None:
    long = Table(("a", "b"), texts=(0, 1), unbroken=(0,)).extend([["x" * 20, "some words that go on"]])
    lines = shown(long, 24)
    assert lines[1].startswith("xx")
    assert "…" in lines[1]
    assert len(lines) > 2


def test_brackets_are_no_markup() -> None:
    assert shown(Table(("a",)).extend([["[bold]x[/bold]"]]))[1] == "[bold]x[/bold]"


def test_markdown_has_the_alignment_and_escapes_bars() -> None:
    table = Table(("name", "MB")).extend([["a|b", "1"]])
    assert table.markdown() == "| name | MB |\n| --- | ---: |\n| a\\|b | 1 |"
