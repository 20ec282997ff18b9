"""The tables of a study: what stands in them, in every form, and where published figures stand beside."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from recorded_study import figures, refined, times

from bitfront.search.reports.published_study import (
    data_name,
    published_study,
    quality_comparable,
    statements,
    times_comparable,
)
from bitfront.search.reports.study import formatted, print_study
from bitfront.search.reports.study_remarks import remarks
from bitfront.search.reports.study_tables import sections

OTHER_DATA = {"data": "cifar10:c.tar", "source": "cifar10"}
SMALL = {"image_size": [3, 48, 48]}


def row(text: str, *beginning: str) -> list[str]:
    """The cells of the first row of Markdown that begins so."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return next(cells for cells in rows if cells[: len(beginning)] == list(beginning))


def test_metrics_with_sizes_and_what_there_is_no_model_of() -> None:
    text = formatted(figures(**OTHER_DATA), "markdown")
    found = row(text, "distilled + EMA", "INT8")
    assert found[2:] == ["83.50 ± 0.50", "84.50 ± 0.50", "85.50 ± 0.50", "5.50", "4.00"]
    assert row(text, "distilled + EMA, refined", "before INT8")[2:] == ["—"] * 5
    assert row(text, "resnet18 + EMA", "INT8")[5:] == ["5.50", "4.00"]
    assert row(text, "teacher", "float32")[5:] == ["—", "—"]
    assert "published" not in text.split("**ablation")[0]


def test_steps_of_the_ablation_have_paired_errors_of_images_and_seeds() -> None:
    text = formatted(figures(seeds=2), "markdown")
    assert row(text, "alone", "80.00 ± 0.50")[2:] == ["", "", "", "80.00 ± 0.50", ""]
    # 0.5 is the hypotenuse of 0.3 over images and 0.4 over seeds
    assert row(text, "+ INT8")[1:4] == ["83.50 ± 0.50", "-0.50 ± 0.50", "-0.50 ± 0.50"]
    assert "images and seeds together" in text


def test_published_figures_beside_ours() -> None:
    ours = figures()
    assert quality_comparable(ours)
    text = formatted(ours, "markdown")
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| distilled | dynamic INT8"))
    assert lines[place + 1] == "| published | dynamic INT8 | 83.23 | 78.65 | 96.58 | 5.97 | 3.54 |"
    assert row(text, "published: QAT-lite", "float32")[2:] == ["81.03", "78.34", "96.34", "21.13", "1.00"]
    batch = text.split("**batch 8")[1]
    assert row(batch, "deit_tiny_patch16_224.fb_in1k", "dynamic INT8")[-3:] == ["58.45", "136.2", "1528"]
    assert row(batch, "resnet18", "float32")[-3:] == ["78.82", "101.5", "—"]
    assert row(batch, "resnet18", "INT8")[-3:] == ["—", "—", "—"]
    assert "our data are taken for theirs by their name (ISIC-2019)" in text
    assert "those of an Intel i7-12700F, ours of one thread of Some CPU" in text


def test_and_a_plain_statement_where_they_are_not_those_published() -> None:
    for changes in (OTHER_DATA, {"teacher": "deit_base_patch16_224"}, {"model": "deit_small_patch16_224"}):
        ours = figures(**changes)
        assert not quality_comparable(ours)
        assert times_comparable(ours)
        assert "accuracies do not stand beside theirs" in statements(ours)[0]
    small = figures(**SMALL)
    assert not times_comparable(small)
    assert statements(small)[1].startswith("nor do times, which are published at 224x224")
    assert "published p50" not in formatted(small, "markdown")


def test_folders_of_this_machine_are_not_named() -> None:
    for source, shown in (
        ("cifar10:/my/data/c.tar", "cifar10:c.tar"), ("/my/photos", "photos"), ("digits", "digits"),
    ):  # fmt: skip
        assert data_name(figures(source=source)) == shown


def test_what_is_shipped_is_what_was_published() -> None:
    paper = published_study()
    assert len(paper.variants) == 6
    distilled = paper.variant("distilled", "float32")
    assert distilled is not None
    assert distilled["test"] == [83.33, 78.57, 96.58]
    found = paper.timed("convnext_tiny.in12k", "dynamic")
    assert found is not None
    assert found["8"] == [162.62, 0, 49.2, 0]
    assert paper.timed("vit_base_patch16_224", "float32") is None


def test_sizes_are_compared_with_files_of_the_same_kind() -> None:
    text = formatted(figures(), "markdown").split("**files**")[1].split("**batch")[0]
    found = row(text, "deit\\_tiny\\_patch16\\_224.fb\\_in1k".replace("\\", ""))
    assert found[1:] == ["5.53 M", "torch's dynamic INT8", "22.00", "6.00", "3.67", "3.54"]
    assert row(text, "", "", "packed by bitfront")[3:] == ["22.00", "5.50", "4.00", "—"]


def test_times_beside_those_of_torch() -> None:
    text = formatted(figures(**SMALL), "markdown").split("**batch 1")[1]
    found = row(text, "deit_tiny_patch16_224.fb_in1k", "W8A8T8", "openvino")
    assert found[3:] == ["3", "3.3", "333.3", "4.00", "500", "5.50"]
    assert "50 warm-up and 5 times 100 timed iterations, one thread" in text


def test_remarks_say_what_is_missing() -> None:
    told = "\n".join(remarks(figures()))
    assert "no model before INT8" in told
    assert "note: convnext_tiny is left out: too large" in told
    assert "in openvino gives 99.50 % of the test images" in told
    assert "other work ran" not in told
    told = "\n".join(remarks(figures(refined=[refined(helped=False, why="it is farther")])))
    assert "refining was kept for 0 of 1 seed: it is farther" in told
    told = "\n".join(remarks(figures(refined=[{"left_out": "too few images"}])))
    assert "refining is left out: too few images" in told
    slow = times(1)
    slow["rows"][0]["spread_percent"] = 60.0
    assert "up to 60 % apart" in "\n".join(remarks(figures(times=[slow])))


def test_csv_has_a_row_for_each_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(formatted(figures(), "csv"))))
    wanted = {"model": "alone", "arithmetic": "float32", "split": "validation", "figure": "top1"}
    [found] = [row for row in rows if wanted.items() <= row.items()]
    assert (found["table"], float(found["value"]), float(found["standard_error"])) == ("quality", 80.0, 0.5)
    assert {r["table"] for r in rows} == {"quality", "published", "ablation", "times", "published times"}
    assert "published times" not in formatted(figures(**SMALL), "csv")


def test_latex_and_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ours = figures()
    text = formatted(ours, "latex")
    assert text.count(r"\begin{tabular}") == len(list(sections(ours))) == 6
    assert r"deit\_tiny\_patch16\_224" in text
    print_study(ours, tmp_path)
    out = capsys.readouterr().out
    assert str(tmp_path) in out
    assert "distilled + EMA, refined" in out
