"""The tables show the front as a person wants it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.export.limited_front import narrowed
from bitfront.search.export.selection import DefaultChoice, chosen_row, default_choice
from bitfront.search.problem.wording import MISSING, Difference, difference, megabytes, milliseconds, percent
from bitfront.search.reports.front_order import in_order
from bitfront.search.reports.front_rows import front_rows, star_note
from bitfront.search.reports.front_table import STAR, front_document, front_html, front_table, runs_table
from bitfront.search.runs.listing import list_runs
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError


def front(run: RecordedRun, width: int, plain: bool = False) -> list[str]:
    return rendered(front_table(run, front_rows(run), plain, width), width, terminal=not plain)


def rendered(table: Table, width: int, terminal: bool) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, color_system=None).print(table)
    return file.getvalue().splitlines()


def test_rows_are_references_then_front_by_size(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    rows = front_rows(run)
    assert [row.name for row in rows[:3]] == ["float32", "W8A8T8", "W4A4T4"]
    assert rows[0].bits == (32, 32, 32)
    assert rows[1].bits == (8, 8, 8)
    sizes = [row.size_bytes for row in rows[3:]]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(run.front)
    knee = [row.name for row in rows if row.knee]
    assert knee == [str(chosen_row(run, "knee")["trial"])]
    assert rows[0].size_share == 1.0
    assert 0 < rows[3].size_share < 0.3


def test_mean_bits_follow_the_genes(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    first = run.front.set_index("trial")
    for row in front_rows(run)[3:]:
        weights = [first.loc[int(row.name), f"encoder{i:02d}.weights"] for i in range(12)]
        assert row.bits.weights == pytest.approx(sum(weights) / 12)


def test_mean_bits_count_genes_that_were_not_searched(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    weights = tuple(gene for gene in run.genes if gene.kind == "weights")
    settled = {f"encoder{i:02d}.activations": 8 for i in range(12)} | {"encoder00.attention": 4}
    others = [gene.name for gene in run.genes if gene not in weights]
    front, trials = (table.drop(columns=others) for table in (run.front, run.trials))
    held = dataclasses.replace(run, front=front, trials=trials, genes=weights, settled=settled)
    for row, before in zip(front_rows(held)[3:], front_rows(run)[3:], strict=True):
        assert row.bits == (before.bits.weights, 8.0, 4.0)


@pytest.mark.parametrize("source", ["measured:torch", "model:bops"])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("width", [80, 104])
def test_front_table_fits_the_terminal(
    tmp_path: Path, run_folder: Callable[..., Path], source: str, paired: bool, width: int
) -> None:
    run_folder(tmp_path, name="r", count=120, source=source, paired=paired)
    lines = front(RecordedRun.read(tmp_path, "r"), width)
    assert max(map(len, lines)) <= width
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)
    assert sum(STAR in line for line in lines) == 1


def test_differences_to_float_have_their_paired_standard_error(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    counts = run.trials.set_index("trial")
    eight, point = front_rows(run)[1], front_rows(run)[3]
    assert front_rows(run)[0].against_float is None
    assert eight.against_float == PairedComparison(899, 4, 2)
    assert eight.test_against_float is None
    found = counts.loc[int(point.name)]
    assert point.against_float == PairedComparison(899, int(found["lost"]), int(found["won"]))
    assert point.test_against_float == PairedComparison(450, int(found["test_lost"]), int(found["test_won"]))


def test_a_narrow_terminal_has_the_difference_of_the_test_split_alone(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    point = front_rows(run)[3]
    narrow, wide = (front(run, width) for width in (80, 104))
    assert [lines[0].count("vs float") for lines in (narrow, wide)] == [1, 2]
    assert max(map(len, wide)) <= 104
    for lines, shown in ((narrow, (False, True)), (wide, (True, True))):
        [line] = [line for line in lines if line.split()[:1] == [point.name]]
        compared = (point.difference, point.test_difference)
        assert tuple(difference(comparison) in line for comparison in compared) == shown


def with_estimates(run: RecordedRun) -> RecordedRun:
    """The run with estimates a quarter of a point below what was counted."""
    columns = {"top1_estimate": run.front["top1"] - 0.25, "top1_estimate_error": 0.31}
    return dataclasses.replace(run, front=run.front.assign(**columns))


def test_estimates_stand_beside_what_was_counted(runs_dir: Path) -> None:
    run = with_estimates(RecordedRun.read(runs_dir, "digits-1"))
    rows = front_rows(run)
    point = rows[3]
    assert (point.estimate, point.estimate_error) == (point.quality - 0.25, 0.31)
    assert point.estimated == (pytest.approx(point.estimate - rows[0].quality), 0.31)
    shown = f"{point.estimate:.2f} ± 0.31"
    for width in (80, 104, 220):
        lines = front(run, width)
        assert max(map(len, lines)) <= width
        [line] = [line for line in lines if line.split()[:1] == [point.name]]
        assert (shown in line) == (width >= 104)
        assert f"{point.estimate:.2f}" in line
        assert (f" {point.quality:.2f} " in line) == (width >= 104)
    found = front_document(run)["front"][0]
    assert (found["top1_estimate"], found["top1_estimate_error"]) == (point.estimate, 0.31)
    assert "top1_estimate" not in front_document(RecordedRun.read(runs_dir, "digits-1"))["front"][0]


def test_words_are_of_the_test_split_then_of_estimates(runs_dir: Path) -> None:
    run = with_estimates(RecordedRun.read(runs_dir, "digits-1"))
    untested = dataclasses.replace(
        run,
        front=run.front.assign(test_top1=float("nan")),
        trials=run.trials.assign(test_lost=float("nan"), test_won=float("nan")),
    )
    tested, estimated = front_rows(run)[3], front_rows(untested)[3]
    assert tested.words.startswith(f"{tested.test_difference.value:+.1f} ± ")
    assert estimated.words.startswith(f"{estimated.estimated.value:+.1f} ± 0.3 points, ")


def test_runs_of_earlier_versions_have_no_differences(
    tmp_path: Path, run_folder: Callable[..., Path]
) -> None:
    run_folder(tmp_path, name="old", count=20, encoders=2, paired=False)
    run = RecordedRun.read(tmp_path, "old")
    assert {(row.against_float, row.test_against_float) for row in front_rows(run)} == {(None, None)}
    assert "vs float" not in "\n".join(front(run, 200, plain=True))


def test_plain_table_has_no_lines(runs_dir: Path) -> None:
    text = "\n".join(front(RecordedRun.read(runs_dir, "digits-1"), 200, plain=True))
    assert not any("\u2500" <= character <= "\u257f" for character in text)
    assert "measured" in text


def test_modelled_latency_is_called_so(tmp_path: Path, run_folder: Callable[..., Path]) -> None:
    run_folder(tmp_path, name="m", count=20, encoders=2, source="model:bops")
    header = front(RecordedRun.read(tmp_path, "m"), 120, plain=True)[:2]
    assert "modelled" in " ".join(header)


def test_why_a_point_is_starred(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    first, second = map(int, run.front["trial"].iloc[:2])

    def note(front: pd.DataFrame, star: DefaultChoice | None) -> str:
        return star_note(dataclasses.replace(run, front=front), star)

    loss = Difference(-0.25, 0.5)
    assert note(run.front, DefaultChoice(first, second, loss, 1.0)) == (
        f"trial {first}, the cheapest point not shown to be more than 1 point worse than the best (trial "
        f"{second}): -0.25 ± 0.50 points"
    )
    assert note(run.front, DefaultChoice(first, first, Difference(0.0, 0.0), 0.5)) == (
        f"trial {first}, the best point: all cheaper ones are shown to be more than 0.5 points worse"
    )
    assert note(run.front, DefaultChoice(first)) == (
        f"trial {first}, the compromise nearest to the best of each objective: how far chance moved top-1 is "
        "not known"
    )
    assert note(run.front.iloc[:1], default_choice(dataclasses.replace(run, front=run.front.iloc[:1]))) == (
        f"trial {first}, the only point"
    )
    assert note(run.front.iloc[:0], None) == ""


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
    assert difference(Difference.of(PairedComparison(436, 17, 5))) == "-2.75 \N{PLUS-MINUS SIGN} 1.07"
    assert difference(Difference.of(PairedComparison(436, 0, 0))) == "+0.00"
    assert difference(None) == MISSING


class TestTheOrderOfRows:
    @pytest.fixture
    def run(self, runs_dir: Path) -> RecordedRun:
        return RecordedRun.read(runs_dir, "digits-1")

    def order(self, run: RecordedRun, by: str | None) -> list[int]:
        return [point["trial"] for point in front_document(run, by)["front"]]

    @pytest.mark.parametrize(
        ("by", "column", "ascending"),
        [
            ("latency", "latency_ms", True),
            ("size", "size_bytes", True),
            ("top1", "top1", False),
            ("loss", "loss", True),
            ("trial", "trial", True),
            ("test", "test_top1", False),
            ("measured", "latency_measured_ms", True),
        ],
    )
    def test_the_best_comes_first(self, run: RecordedRun, by: str, column: str, ascending: bool) -> None:
        values = run.front.set_index("trial", drop=False)[column]
        found = values[self.order(run, by)].tolist()
        assert found == sorted(found, reverse=not ascending)
        names = [row.name for row in in_order(run, front_rows(run), by)]
        assert names[:3] == ["float32", "W8A8T8", "W4A4T4"]

    def test_as_it_was_without_a_column(self, run: RecordedRun) -> None:
        assert self.order(run, None) == self.order(run, "size")
        assert in_order(run, front_rows(run)) == front_rows(run)

    def test_estimates_decide_and_what_is_not_known_comes_last(self, run: RecordedRun) -> None:
        estimates = [90.0 + i for i in range(len(run.front))]
        estimated = dataclasses.replace(run, front=run.front.assign(top1_estimate=estimates))
        assert self.order(estimated, "top1") == run.front["trial"].tolist()[::-1]
        partly = run.front["test_top1"].where(run.front["trial"] != run.front["trial"].max())
        tested = dataclasses.replace(run, front=run.front.assign(test_top1=partly))
        assert self.order(tested, "test")[-1] == run.front["trial"].max()

    def test_another_column_is_refused(self, run: RecordedRun) -> None:
        with pytest.raises(
            UserError, match="--sort 'speed' is no column of the front: sort by latency, size"
        ):
            self.order(run, "speed")


def test_a_narrowed_front_says_what_it_was_narrowed_to(runs_dir: Path) -> None:
    run = narrowed(RecordedRun.read(runs_dir, "digits-1"), {"max_size": "900kB", "max_drop": 20})
    found = front_document(run)
    assert [(limit["asked"], limit["bound"]) for limit in found["within"]] == [
        ("--max-size 900kB", 900_000.0),
        ("--max-drop 20", pytest.approx(78.9)),
    ]
    assert len(found["front"]) == len(run.front)
    assert found["knee"] in found["shortlist"]
    assert "within --max-size 900kB --max-drop 20 from 240 trials" in front_html(run)
    assert front_document(RecordedRun.read(runs_dir, "digits-1"))["within"] == []
