"""The tables show the front as a person wants it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bitfront.search.front_rows import front_rows
from bitfront.search.run_list import list_runs
from bitfront.search.run_reader import open_run
from bitfront.search.selection import pick
from bitfront.search.tables import STAR, front_table, runs_table
from bitfront.search.wording import MISSING, megabytes, milliseconds, percent


def rendered(table: Table, width: int, terminal: bool) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, color_system=None).print(table)
    return file.getvalue().splitlines()


def test_rows_are_references_then_front_by_size(runs_dir: Path) -> None:
    run = open_run(runs_dir, "digits-1")
    rows = front_rows(run)
    assert [row.name for row in rows[:3]] == ["float32", "W8A8T8", "W4A4T4"]
    assert rows[0].bits == (32, 32, 32)
    assert rows[1].bits == (8, 8, 8)
    sizes = [row.size_bytes for row in rows[3:]]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(run.front)
    knee = [row.name for row in rows if row.knee]
    assert knee == [str(pick(run.front, "knee")["trial"])]
    assert rows[0].size_share == 1.0
    assert 0 < rows[3].size_share < 0.3


def test_mean_bits_follow_the_genes(runs_dir: Path) -> None:
    run = open_run(runs_dir, "digits-1")
    first = run.front.set_index("trial")
    for row in front_rows(run)[3:]:
        weights = [first.loc[int(row.name), f"encoder{i:02d}.weights"] for i in range(12)]
        assert row.bits.weights == pytest.approx(sum(weights) / 12)


def test_front_table_fits_a_narrow_terminal(runs_dir: Path) -> None:
    lines = rendered(front_table(open_run(runs_dir, "digits-1")), width=80, terminal=True)
    assert max(map(len, lines)) <= 80
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)
    assert sum(STAR in line for line in lines) == 1


def test_plain_table_has_no_lines(runs_dir: Path) -> None:
    text = "\n".join(rendered(front_table(open_run(runs_dir, "digits-1"), plain=True), 200, terminal=False))
    assert not any("\u2500" <= character <= "\u257f" for character in text)
    assert "measured" in text


def test_modelled_latency_is_called_so(tmp_path: Path, run_folder: Callable[..., Path]) -> None:
    run_folder(tmp_path, name="m", count=20, encoders=2, source="model:bops")
    header = rendered(front_table(open_run(tmp_path, "m")), 120, terminal=False)[:2]
    assert "modelled" in " ".join(header)


def test_runs_table_names_every_run(runs_dir: Path) -> None:
    lines = rendered(runs_table(list_runs(runs_dir), plain=True), 200, terminal=False)
    assert lines[-1].startswith("digits-1")
    assert "240/240" in lines[-1]
    assert "finished" in lines[-1]


def test_numbers_keep_four_digits() -> None:
    assert megabytes(1_348_104) == "1.348"
    assert megabytes(684_552, largest=5_360_000) == "0.685"
    assert megabytes(345_000_000) == "345.0"
    assert milliseconds(0.01234) == "0.01234"
    assert milliseconds(float("nan")) == percent(float("nan")) == MISSING
    assert percent(98.7654) == "98.77"
