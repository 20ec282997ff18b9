"""Records of refined points: read as they were written, beside a front that stays as it was."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from refined_cases import write_refined_point

from bitfront.evaluators.tasks.paired import Paired
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.refined import (
    file_of,
    read_refined,
    record_of,
    refined_points,
    unfinished_in,
    unfinished_of,
    write_refined,
)
from bitfront.search.runs.refined_table import TABLE, write_refined_table
from bitfront.spaces import UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, run_folder: MakeRun) -> Path:
    return run_folder(tmp_path, name="r", count=60, encoders=3)


def trials_of(folder: Path) -> list[int]:
    return [int(trial) for trial in RecordedRun.read(folder.parent, "r").front["trial"]]


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    point = write_refined_point(folder.parent, "r", trials_of(folder)[0])
    differences = {**point.search.differences, "macro_f1": Paired(math.nan, math.nan)}
    search = dataclasses.replace(point.search, differences=differences)
    point = dataclasses.replace(point, splits={**point.splits, "search": search})
    path = file_of(folder, point.digest)
    write_refined(path, point)
    assert "NaN" not in record_of(path).read_text()
    found = read_refined(record_of(path))
    assert math.isnan(found.search.differences["macro_f1"].error)
    assert json.dumps(found.to_json()).replace("NaN", "null") == json.dumps(point.to_json())


def test_the_front_is_what_it_was(folder: Path) -> None:
    before = (folder / "front.csv").read_bytes()
    assert RecordedRun.read(folder.parent, "r").refined == ()
    second, first = trials_of(folder)[1], trials_of(folder)[0]
    for trial in (second, first):
        write_refined_point(folder.parent, "r", trial)
    run = RecordedRun.read(folder.parent, "r")
    assert (folder / "front.csv").read_bytes() == before
    assert {point.trial for point in run.refined} == {first, second}
    assert set(run.refined_front) == {first, second}
    narrowed = dataclasses.replace(run, front=run.front.iloc[2:])
    assert narrowed.refined_front == {}  # of points that are not shown


def test_damage_names_the_record(folder: Path) -> None:
    point = write_refined_point(folder.parent, "r", trials_of(folder)[0])
    path = record_of(file_of(folder, point.digest))
    path.write_text(json.dumps({**json.loads(path.read_text()), "splits": {}}))
    with pytest.raises(UserError, match=rf"{path} is damaged .*: remove it, and refine the point again"):
        refined_points(folder)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        RecordedRun.read(folder.parent, "r")


def test_the_table_has_the_columns_of_the_front_and_the_gains(folder: Path) -> None:
    trial = trials_of(folder)[0]
    point = write_refined_point(folder.parent, "r", trial, gain=2.5)
    run = RecordedRun.read(folder.parent, "r")
    write_refined_table(run)
    table, front = pd.read_csv(folder / TABLE), pd.read_csv(folder / "front.csv")
    assert set(front.columns) <= set(table.columns)
    row, before = table.iloc[0], front.set_index("trial").loc[trial]
    assert (row["trial"], row["digest"]) == (trial, point.digest)
    assert row["size_bytes"] == pytest.approx(before["size_bytes"], abs=0.5)
    assert [row[gene.name] for gene in run.genes] == [before[gene.name] for gene in run.genes]
    assert row["top1"] == pytest.approx(before["top1"] + 2.5, abs=1e-3)
    assert row["top1_before"] == pytest.approx(before["top1"], abs=1e-3)
    assert (row["top1_gain"], row["top1_gain_standard_error"]) == pytest.approx((2.5, 0.4))
    assert row["test_top1_gain"] == pytest.approx(1.5)


def test_unfinished_ones_are_no_refined_points(folder: Path) -> None:
    assert unfinished_in(folder) == []
    unfinished_of(folder, "abc").mkdir(parents=True)
    assert unfinished_in(folder) == ["abc"]
    assert refined_points(folder) == ()
