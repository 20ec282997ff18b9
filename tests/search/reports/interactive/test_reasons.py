"""Why each trial is not on the front, and the facts of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bitfront.search.reports.interactive.facts import run_facts
from bitfront.search.reports.interactive.reasons import (
    DOMINATED,
    FAILED,
    FRONT,
    INFEASIBLE,
    REJECTED,
    SCREENED,
    reasons_of,
)
from bitfront.search.runs.reader import RecordedRun


def read(root: Path, name: str = "digits-1") -> RecordedRun:
    return RecordedRun.read(root, name)


def test_every_trial_has_a_reason_that_is_true(runs_dir: Path) -> None:
    run = read(runs_dir)
    reasons = dict(zip(run.trials["trial"], reasons_of(run), strict=True))
    rows = run.trials.set_index("trial")
    for trial, (group, words) in reasons.items():
        row = rows.loc[trial]
        if group == FRONT:
            assert trial in set(run.front["trial"])
            assert words == ""
        elif group == FAILED:
            assert words == f"failed: {row['error']}"
        elif group == INFEASIBLE:
            assert words == (
                f"breaks --max-size 0.95x: {row['size_bytes']:,.0f} bytes, at most 1,250,000 bytes allowed"
            )
        else:
            assert group == DOMINATED
            better = rows.loc[int(words.split()[1])]
            assert int(words.split()[1]) in set(run.front["trial"])
            assert better["top1"] >= row["top1"]
            assert better["latency_ms"] <= row["latency_ms"] * 1.001
            assert better["size_bytes"] <= row["size_bytes"] * 1.001
    groups = [reason.group for reason in reasons.values()]
    assert {FRONT, FAILED, INFEASIBLE, DOMINATED} == set(groups)


def test_rejected_and_screened_trials_say_so(run_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = run_folder(tmp_path, count=60)
    trials = pd.read_csv(folder / "trials.csv")
    off = [trial for trial in trials["trial"] if trial not in set(pd.read_csv(folder / "front.csv")["trial"])]
    trials["violation.mixed"], trials["images"] = 0.0, 899
    for trial, values in {
        off[0]: {"state": "rejected", "violation.mixed": 1.0, "top1": None, "feasible": False},
        off[1]: {"state": "screened", "images": 128, "feasible": False},
    }.items():
        for column, value in values.items():
            trials.loc[trials["trial"] == trial, column] = value
    trials.to_csv(folder / "trials.csv", index=False)
    run = read(tmp_path)
    reasons = dict(zip(run.trials["trial"], reasons_of(run), strict=True))
    assert reasons[off[0]] == (REJECTED, "not evaluated: breaks the constraint mixed")
    assert reasons[off[1]].group == SCREENED
    assert reasons[off[1]].words.startswith("given up after 128 images")


def test_facts_name_what_was_searched_and_no_folder(run_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = run_folder(
        tmp_path, count=40, checkpoint="/home/me/secret/w.pth", data="/home/me/photos", crop_pct=0.9
    )
    machine = {"cpu": "AMD EPYC", "cpus_logical": 2, "python": "3.11.7", "packages": {"torch": "2.13.0"}}
    (folder / "environment.json").write_text(json.dumps(machine))
    facts = dict(run_facts(read(tmp_path)))
    assert facts["weights"] == "w.pth"
    assert facts["data"] == "photos"
    assert facts["preprocessing"] == "crop pct 0.9"
    assert facts["machine"] == "AMD EPYC, 2 CPUs"
    assert facts["versions"] == "Python 3.11.7, torch 2.13.0"
    assert facts["limits"] == "--max-size 0.95x"
    assert facts["evaluations"] == "40 evaluations in 1 min 02 s"
    assert "/home" not in " ".join(facts.values())
