"""``bitfront search`` on the embedded default: the whole way to a finished run folder."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import BATCHES
from bitfront.search.cli.main import main
from bitfront.search.reports.plots import run_plots
from bitfront.search.runs.folder import read_space
from bitfront.search.session.run import open_run

SEARCH_IMAGES, TEST_IMAGES = 120, 60
SIZES = ("--search-images", str(SEARCH_IMAGES), "--test-images", str(TEST_IMAGES))
# A modelled latency is the same table every time, whatever the machine.
SETTINGS = (
    "--model",
    "digits_deit",
    "--latency",
    "model:bops",
    "--evaluations",
    "24",
    "--population",
    "6",
    *SIZES,
)
# What decides, and which direction is better.
DECIDING = {"top1_estimate": -1.0, "latency_ms": 1.0, "size_bytes": 1.0}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def words(runs: Path, name: str, *arguments: str) -> list[str]:
    """The arguments of a search; where an option is written twice, the last one holds."""
    return ["search", "--runs-dir", str(runs), "--run", name, *SETTINGS, *arguments]


def search(*arguments: str, drawn: bool = False) -> tuple[int, str]:
    """Searches from this process, and returns the status and what was written to stderr."""
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()) as told,
    ):
        if not drawn:  # drawing takes as long as searching
            patch.setattr(run_plots, "write_plots", lambda run: [])
        status = main(arguments)
    return status, told.getvalue()


def process(runs: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    """A search in a process of its own, which can be killed and interrupted."""
    command = [sys.executable, "-m", "bitfront.search.cli", *words(runs, name, *arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    status, told = search(*words(folder, "two", "--workers", "2"), drawn=True)
    assert status == 0, told
    return folder


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop(columns=["latency_measured_ms"])


@pytest.mark.thorough
def test_run_folder_is_complete(runs: Path) -> None:
    folder = runs / "two"
    expected = {
        "spec.json", "environment.json", "study.log", "latency_table.csv", "trials.csv", "front.csv",
        "plots", "log.txt", "splits.json", "references.json", "summary.json", "space.json",
        "right_images.csv", "progress.json",
    }  # fmt: skip
    assert expected <= {path.name for path in folder.iterdir()}
    for picture in ("front", "front_size", "front_latency", "bit_map", "hypervolume"):
        assert (folder / "plots" / f"{picture}.png").stat().st_size > 10_000
    splits = json.loads((folder / "splits.json").read_text())
    parts = [set(splits[name]) for name in ("calibration", "search", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_plots_that_cannot_be_drawn_cost_nothing_else(bitfront, tmp_path: Path, monkeypatch) -> None:
    def failing(*_: object) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr(run_plots, "write_plots", failing)
    outcome = bitfront(
        "search", "--model", "digits_deit", "--runs-dir", tmp_path, "--run", "bare", "--workers", "1",
        "--latency", "model:bops", "--evaluations", "4", "--population", "2", *SIZES,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    again = f"bitfront plot bare --runs-dir {tmp_path}"
    message = f"the plots could not be drawn (ValueError: no such font): draw them with `{again}`"
    assert outcome.err.count(f"warning: {message}") == 2
    front = pd.read_csv(tmp_path / "bare" / "front.csv")
    assert front[["test_top1", "latency_measured_ms"]].notna().all(axis=None)


def test_what_was_measured_of_the_machine_is_recorded(runs: Path) -> None:
    evaluation = json.loads((runs / "two" / "spec.json").read_text())["evaluation"]
    environment = json.loads((runs / "two" / "environment.json").read_text())
    assert evaluation["threads"] == 1, "two workers have a thread each"
    assert evaluation["batch_size"] in BATCHES
    assert {name: environment[name] for name in ("device", "batch_size", "threads")} == {
        "device": "cpu", "batch_size": evaluation["batch_size"], "threads": 1,
    }  # fmt: skip
    assert environment["kernels"]
    summary = json.loads((runs / "two" / "summary.json").read_text())
    assert summary["latency_measured_source"] == "measured:torch"
    assert "latencies by model:bops are modelled, not measured" in summary["latency_note"]
    assert (summary["scheme"], summary["recipe"], summary["without"]) == ("fq-vit", "best", [])
    assert (evaluation["recipe"], evaluation["without"]) == ("best", [])
    assert isinstance(environment["kernel_notes"], list)


def test_front_is_not_dominated_and_holds_when_evaluated_again(runs: Path) -> None:
    folder = runs / "two"
    front, trials = pd.read_csv(folder / "front.csv"), pd.read_csv(folder / "trials.csv")
    assert len(front) >= 8
    points = front[list(DECIDING)].to_numpy() * np.array(list(DECIDING.values()))
    others = trials.loc[trials["feasible"], list(DECIDING)].to_numpy() * np.array(list(DECIDING.values()))
    for point in points:
        assert not ((others <= point).all(1) & (others < point).any(1)).any()
    assert (front["top1_estimate_error"] > 0.0).all()
    assert trials.loc[trials["state"] == "complete", "expected_difference"].notna().all()
    space = read_space(folder)
    spec = EvaluationSpec(
        model="digits_deit", scheme="fq-vit", search_images=SEARCH_IMAGES, test_images=TEST_IMAGES
    )
    context = EvaluationContext.from_spec(spec)
    eight_bit = json.loads((folder / "references.json").read_text())[1]["size_bytes"]
    for _, row in front.iterrows():
        config = space.decode(np.array([g.choices.index(row[g.name]) for g in space.genes]))
        assert config.digest == row["digest"]
        assert config.formats().every == (4, 8)
        accuracy = context.quality(config)
        assert accuracy["top1"] == pytest.approx(row["top1"], abs=1e-4)
        assert accuracy["loss"] == pytest.approx(row["loss"], abs=1e-6)
        trial = trials.loc[row["trial"]]
        tested = context.quality(config, "test")
        assert (accuracy.lost, accuracy.won) == (trial["lost"], trial["won"])
        assert (tested.lost, tested.won) == (trial["test_lost"], trial["test_won"])
        assert tested["top1"] == pytest.approx(row["test_top1"], abs=1e-4)
        assert context.size.size_bytes(config) == row["size_bytes"] <= eight_bit
        assert row["latency_source"] == "model:bops"
        assert row["latency_measured_ms"] > 0


def test_which_images_are_right_can_be_compared_in_pairs(runs: Path) -> None:
    run = open_run("two", runs_dir=runs)
    complete = run.trials[run.trials["state"] == "complete"].set_index("digest")
    search, test = run.right_images("search"), run.right_images("test")
    assert {"float32", "W8A8T8", *complete.index} <= set(search)
    assert set(test) == {"float32", "W8A8T8", *run.front["digest"]}
    for found, prefix, rows in ((search, "", complete), (test, "test_", complete.loc[run.front["digest"]])):
        whole = found["float32"]
        for digest, row in rows.iterrows():
            right = found[str(digest)]
            counts = int((whole & ~right).sum()), int((right & ~whole).sum())
            assert counts == (row[f"{prefix}lost"], row[f"{prefix}won"])


@pytest.mark.thorough
def test_one_worker_finds_the_same_front(runs: Path) -> None:
    status, told = search(*words(runs, "one", "--workers", "1"))
    assert status == 0, told
    pd.testing.assert_frame_equal(table(runs / "two" / "front.csv"), table(runs / "one" / "front.csv"))
    pd.testing.assert_frame_equal(table(runs / "two" / "trials.csv"), table(runs / "one" / "trials.csv"))


def test_killed_and_resumed_run_finds_the_same_front(runs: Path) -> None:
    started = process(runs, "killed", "--workers", "2")
    journal = runs / "killed" / "study.log"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().count('"measured"') >= 10):
        assert started.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started.kill()
    started.communicate()
    spec = (runs / "killed" / "spec.json").read_text()
    status, told = search("search", "--runs-dir", str(runs), "--resume", "killed")
    assert status == 0, told
    assert (runs / "killed" / "spec.json").read_text() == spec, "nothing is measured again"
    pd.testing.assert_frame_equal(table(runs / "two" / "front.csv"), table(runs / "killed" / "front.csv"))


@pytest.mark.thorough
def test_interrupted_run_is_complete_and_can_be_resumed(runs: Path) -> None:
    started = process(runs, "stopped", "--workers", "1")
    trials = runs / "stopped" / "study.log"
    while not (trials.exists() and trials.read_text().count('"measured"') >= 4):
        assert started.poll() is None, "the run ended before it could be interrupted"
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    assert "--resume stopped" in err
    summary = json.loads((runs / "stopped" / "summary.json").read_text())
    assert summary["stopped_because"] == "interrupted"
    assert len(pd.read_csv(runs / "stopped" / "trials.csv")) >= 4


@pytest.mark.thorough
def test_latency_table_of_a_run_can_be_used_again(runs: Path) -> None:
    source = runs / "two" / "latency_table.csv"
    status, told = search(*words(runs, "tabled", "--workers", "1", "--latency", f"table:{source}"))
    assert status == 0, told
    first, again = (table(runs / name / "front.csv") for name in ("two", "tabled"))
    pd.testing.assert_frame_equal(first.drop(columns="latency_source"), again.drop(columns="latency_source"))
    assert set(again["latency_source"]) == {"table:latency_table.csv (model:bops)"}


def test_exported_knee_is_confirmed_by_evaluate(runs: Path, bitfront) -> None:
    exported = bitfront("export", "two", "--runs-dir", runs, "--pick", "knee", "--json")
    assert exported.status == 0, exported.err
    path = json.loads(exported.out)["path"]
    evaluated = bitfront("evaluate", "--config", path, "--latency", "model:bops", "--json")
    assert evaluated.status == 0, evaluated.err
    report, document = json.loads(evaluated.out), json.loads(Path(path).read_text())
    assert report["top1"] == pytest.approx(document["measured"]["test_top1"], abs=1e-4)
    assert report["top1_difference"] == pytest.approx(report["top1"] - report["fp32_top1"])
    trial = pd.read_csv(runs / "two" / "trials.csv").loc[document["provenance"]["trial"]]
    assert (report["lost"], report["won"]) == (trial["test_lost"], trial["test_won"])
    assert report["size_bytes"] == document["measured"]["size_bytes"]
    assert report["latency_ms"] == pytest.approx(document["measured"]["latency_ms"], rel=1e-4)


def test_limits_are_kept(runs: Path) -> None:
    limits = ("--max-size", "0.36x", "--max-drop", "3")
    status, told = search(*words(runs, "limited", *limits, "--workers", "1"))
    assert status == 0, told
    front = pd.read_csv(runs / "limited" / "front.csv")
    references = json.loads((runs / "limited" / "references.json").read_text())
    assert (front["size_bytes"] <= 0.36 * references[0]["size_bytes"]).all()
    # An estimate less its margin reaches the limit, whatever was counted.
    trials = pd.read_csv(runs / "limited" / "trials.csv").set_index("trial").loc[front["trial"]]
    assert (trials["violation.max_drop"] <= 0.0).all()
    assert (front["top1_estimate"] - 0.8 * front["top1_estimate_error"] >= references[0]["top1"] - 3).all()


@pytest.mark.thorough
def test_limits_nobody_can_meet_name_the_nearest_values(runs: Path) -> None:
    # On this many images no configuration is right everywhere.
    more = ("--search-images", "400", "--evaluations", "12", "--workers", "1")
    status, told = search(*words(runs, "hopeless", "--min-top1", "99.99", *more))
    assert status == 1
    message = told.strip().splitlines()[-1]
    assert message.startswith("error: no configuration met the limits: --min-top1 99.99 asks for at least")
    assert "the nearest was 9" in message
    assert (runs / "hopeless" / "trials.csv").exists()
