"""trials.csv and front.csv: their columns are a contract, and what is written is read again."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from search_contracts import ObserverContract

from bitfront.evaluators.tasks.quality import Quality
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.columns import Schema
from bitfront.search.runs.files import read_table
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.listing import list_runs
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.study import StudyRecord
from bitfront.search.runs.tables import FinalMeasurement, FolderWriter, RunTables, TableTexts

FRONT = [
    "trial", "digest", "top1", "loss", "latency_ms", "latency_source", "latency_measured_ms", "size_bytes",
    "test_top1",
]  # fmt: skip
SCHEMA = Schema(task_named("classification"))
FURTHER = ["images", "top5", "kl", "agreement", "lost", "won", "test_lost", "test_won", "error"]
ESTIMATE = ["top1_estimate", "top1_estimate_error"]


@pytest.fixture
def result(synthetic, tmp_path: Path):
    return synthetic.search(
        RunStore(tmp_path).create("r"), RunSpec(evaluations=20, population=8, min_top1=90.0)
    )


def test_columns_and_their_order_are_those_that_readers_know(result, tmp_path: Path) -> None:
    genes = list(result.problem.space.gene_names)
    violations = [f"violation.{name}" for name in result.problem.constraint_names]
    with (tmp_path / "r" / "front.csv").open() as file:
        assert next(csv.reader(file)) == [*FRONT, *genes, *ESTIMATE, "listed", "stands_for"]
    with (tmp_path / "r" / "trials.csv").open() as file:
        further = [*violations, *FURTHER, "expected_difference", *ESTIMATE]
        assert next(csv.reader(file)) == [*FRONT, *genes, "state", "feasible", *further]


def test_decimals_are_those_of_the_column_and_what_is_not_known_is_empty(result) -> None:
    trial = dataclasses.replace(
        result.trials[0],
        state="failed",
        error='a "quoted", reason',
        values={"top1": 98.76543, "loss": 0.12345678, "latency_ms": 1.23456789, "size_bytes": 1234567.0},
    )
    final = {trial.number: FinalMeasurement(2.3456789, Quality(9, {"top1": 97.0}, 3, 1, 0.0))}
    (row,) = csv.DictReader(TableTexts(result.problem).trials([trial], final).splitlines())
    assert [row[name] for name in FRONT if name not in ("trial", "digest", "latency_source")] == [
        "98.7654", "0.123457", "1.23457", "2.34568", "1234567", "97.0000",
    ]  # fmt: skip
    assert (row["state"], row["feasible"], row["error"]) == ("failed", "false", 'a "quoted", reason')
    assert (row["test_lost"], row["test_won"], row["kl"]) == ("3", "1", "")


def test_the_front_says_which_points_are_listed_once_there_is_a_shortlist(result, tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("again")
    tables, [first, second] = RunTables(folder, result.problem), result.trials[:2]
    standing = {trial.number: FinalMeasurement(stands_for=second.number) for trial in (first, second)}
    for final, expected in ((None, [("", ""), ("", "")]), (standing, [("false", "1"), ("true", "1")])):
        tables.write(result.trials, [first, second], final)
        rows = csv.DictReader((folder.path / "front.csv").read_text().splitlines())
        assert [(row["listed"], row["stands_for"]) for row in rows] == expected
    assert "listed" not in (folder.path / "trials.csv").read_text()


def test_what_is_written_is_read_again(result, tmp_path: Path) -> None:
    genes = result.problem.space.gene_names
    trials = read_table(tmp_path / "r" / "trials.csv", SCHEMA.by_name, SCHEMA.trials, genes)
    front = read_table(tmp_path / "r" / "front.csv", SCHEMA.by_name, SCHEMA.front, genes)
    assert trials["trial"].tolist() == [trial.number for trial in result.trials]
    assert trials["feasible"].tolist() == [trial.feasible for trial in result.trials]
    assert front["digest"].tolist() == [trial.digest for trial in result.front]
    assert pd.api.types.is_float_dtype(front[list(genes)].to_numpy().dtype)
    best = max(trial.values["top1"] for trial in result.front)
    assert front["top1"].max() == pytest.approx(best, abs=1e-4)


class TestFolderWriter(ObserverContract):
    @pytest.fixture
    def observer(self, synthetic, folder):
        problem = synthetic.problem(RunSpec())
        yield FolderWriter(RunTables(folder, problem), StudyRecord.in_memory(problem))
        assert (folder.path / "front.csv").exists()
        assert (folder.path / "trials.csv").exists()


def test_the_loss_is_measured_on_the_test_split_where_it_is_traded_off() -> None:
    task = task_named("classification")
    names = [column.name for column in Schema(task, ("loss", "macro_f1", "size"), ("macro_f1",)).leading]
    assert names == [*FRONT, "test_loss", "macro_f1", "test_macro_f1"]
    assert [column.name for column in Schema(task, ("top1", "latency", "size")).leading] == FRONT


def test_fronts_of_earlier_versions_lack_what_they_traded_off(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    spec = {"version": 3, "objectives": ["kl", "size"], "evaluation": {"model": "m", "widths": [4, 8]}}
    (folder / "spec.json").write_text(json.dumps(spec))
    row = "0,0123456789ab,90,0.1,1.0,model:bops,,1000,,8"
    (folder / "front.csv").write_text(",".join([*FRONT, "encoder00"]) + f"\n{row}\n")
    (folder / "trials.csv").write_text(
        ",".join([*FRONT, "encoder00", "state", "feasible", "kl"]) + f"\n{row},complete,true,0.25\n"
    )
    [summary] = list_runs(tmp_path)
    assert (summary.status, summary.front_points, summary.metric) == ("killed", 1, "kl")
    run = RecordedRun.read(tmp_path, "old")
    assert run.front["kl"].tolist() == [0.25]
    assert run.front["test_kl"].isna().all()
