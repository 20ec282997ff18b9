"""``bitfront compare``: mistakes are one line, and the whole way on a few images."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_comparison import figures

from bitfront.search import open_run
from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.comparison.model_settings import ModelSettings

# A few images prepared the simple way.
SMALL = (
    "--model", "digits_deit", "--data", "digits", "--scheme", "fq-vit", "--latency", "model:bops",
    "--recipe", "fq-vit",
    "--calibration-images", "16", "--search-images", "40", "--test-images", "60", "--batch-size", "40",
    "--threads", "1", "--workers", "1",
)  # fmt: skip
FEW = ("--generations", "3", "--population", "4", "--draws", "3")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--generations", "0"], "'0' is not a whole number above 0"),
        (["--draws", "-1"], "'-1' is not a whole number from 0 up"),
        (["--population", "1"], "--population 1 is too small: give at least 2"),
        (["--pick", "best"], "--pick 'best' is no choice: pick knee, top1, latency, size or weights"),
        (["--max-size", "huge"], "--max-size 'huge' is not a limit"),
        (["--bits", "2,4"], "has no option --bits"),
        (["--format", "html"], "invalid choice: 'html'"),
        (["--random-weights", "--checkpoint", "w.pth"], "--random-weights takes no other weights"),
        (["--resume", "nights"], "no comparison 'nights' in runs: start one with `bitfront compare`"),
        (["--resume", "night", "--max-drop", "1"], "--max-drop cannot be given with --resume"),
        (["--run", "a", "--resume", "b"], "not allowed with"),
        (["nights"], "there is no comparison 'nights' in runs"),
        (["../x"], "'../x' is not a name for a run"),
        (["nights", "--draws", "3"], "--draws cannot be given with names of comparisons"),
        (["nights", "--resume", "b"], "--resume cannot be given with names of comparisons"),
        (["--output", "none/tables.tex"], "there is no folder none"),
    ],
)
def test_mistakes_are_one_line(
    bitfront: Callable, arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = bitfront("compare", *arguments)
    assert outcome.status == 2
    assert expected in outcome.error
    assert not list(tmp_path.glob("runs/*")), "a comparison that cannot be begun leaves nothing"


def kept(root: Path, name: str, **changes: object) -> None:
    """The folder of a comparison with made-up figures."""
    (root / name).mkdir()
    ModelSettings(RunSpec()).write(root / name)
    if changes:
        (root / name / "comparison.json").write_text(json.dumps(figures(comparison=name, **changes)))


def test_several_are_printed_together(bitfront: Callable, tmp_path: Path) -> None:
    kept(tmp_path, "one", model="digits_deit")
    kept(tmp_path, "two", model="digits_vit", interrupted=True)
    where = ("--runs-dir", str(tmp_path))
    outcome = bitfront("compare", "one", "two", *where)
    assert outcome.status == 0
    assert outcome.out.count("search less stochastic") == 2
    assert f"next: bitfront compare --resume two --runs-dir {tmp_path}" in outcome.err
    for name, form in (("t.csv", "comparison,model"), ("t.md", "# Assignments"), ("t.tex", r"\noindent")):
        place = tmp_path / name
        assert bitfront("compare", "one", "two", *where, "--output", str(place)).out == f"{place}\n"
        assert place.read_text().startswith(form)
        assert "vit" in place.read_text()
    assert bitfront("compare", "one", *where, "--format", "latex").out.startswith(r"\noindent")
    documents = json.loads(bitfront("compare", "one", "two", *where, "--json").out)
    assert [document["model"] for document in documents] == ["digits_deit", "digits_vit"]
    assert json.loads(bitfront("compare", "one", *where, "--json").out)["comparison"] == "one"


def test_one_without_figures_says_how_to_go_on(bitfront: Callable, tmp_path: Path) -> None:
    kept(tmp_path, "begun")
    outcome = bitfront("compare", "begun", "--runs-dir", str(tmp_path))
    assert outcome.status == 2
    command = f"bitfront compare --resume begun --runs-dir {tmp_path}"
    assert f"comparison begun has no figures yet: go on with `{command}`" in outcome.error


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_is_complete_and_goes_on(bitfront: Callable, tmp_path: Path) -> None:
    where = ("--runs-dir", str(tmp_path))
    outcome = bitfront("compare", *SMALL, *where, *FEW, "--run", "small")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "small"
    assert "the stochastic baseline (mean of 3 draws)" in outcome.out or "is better than" in outcome.out
    assert f"next: bitfront export seed0 --pick knee --runs-dir {folder}/fronts" in outcome.err
    assert bitfront("runs", *where).out.count("small") == 0, "a comparison is no run"
    document = json.loads((folder / "comparison.json").read_text())
    (search,) = document["searches"]
    assert not document["interrupted"]
    assert (document["images"]["test"], search["evaluations"]) == (60, 12)
    run = open_run("seed0", runs_dir=folder / "fronts")
    assert run.knee == search["trial"], "the pick is what an export takes"
    assert run.config("knee").digest == search["digest"]
    assert len({draw["digest"] for draw in search["draws"]} | {search["digest"]}) == 4
    for draw in search["draws"]:
        assert abs(draw["size_bytes"] / search["size_bytes"] - 1) <= 0.01
        assert np.array_equal(np.sort(draw["bits"], axis=0), np.sort(search["bits"], axis=0))
    assert [mark["generations"] for mark in search["generations"]] == [2, 3]
    assert [mark["evaluations"] for mark in search["generations"]] == [8, 12]
    assert search["generations"][-1]["best"]["digest"] == search["digest"]
    with (folder / "tables.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 + 3 + 2 + 1 + 2
    names = ("evaluations.jsonl", "test_evaluations.jsonl")
    before = [(folder / name).read_text() for name in names]

    more = ("--seeds", "2", "--draws", "4", "--workers", "1", "--format", "markdown")
    again = bitfront("compare", "--resume", "small", *where, *more)
    assert again.status == 0, again.err
    assert again.out == (folder / "tables.md").read_text()
    assert "search, 2 seeds" in again.out
    for name, known in zip(names, before, strict=True):
        assert (folder / name).read_text().startswith(known), "what was evaluated is not evaluated again"
    document = json.loads((folder / "comparison.json").read_text())
    assert [found["seed"] for found in document["searches"]] == [0, 1]
    first = document["searches"][0]
    assert first["draws"][:3] == search["draws"]
    assert len(first["draws"]) == 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_random_weights_are_a_dry_run(bitfront: Callable, tmp_path: Path) -> None:
    words = ("--generations", "1", "--population", "3", "--draws", "1", "--random-weights", "--run", "dry")
    small = [word if word != "digits_deit" else "digits_vit" for word in SMALL]
    outcome = bitfront("compare", *small, *words, "--runs-dir", str(tmp_path))
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("digits_vit: random weights: a dry run, accuracies mean nothing\n")
    assert (tmp_path / "dry" / "random_weights.safetensors").exists()


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_and_a_kill_keep_everything(bitfront: Callable, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitfront.search.cli", "compare", "--runs-dir", str(tmp_path)]
    words = ("--generations", "6", "--population", "6", "--draws", "2")

    def stopped(*arguments: str, sent: signal.Signals, after: int) -> tuple[int, str]:
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not (evaluations.exists() and len(evaluations.read_text().splitlines()) >= after):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        os.kill(process.pid, sent)
        _, err = process.communicate(timeout=600)
        return process.returncode, err

    evaluations = tmp_path / "stopped" / "evaluations.jsonl"
    status, err = stopped(*SMALL, *words, "--run", "stopped", sent=signal.SIGINT, after=3)
    assert status == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-2:] == [
        f"next: bitfront compare --resume stopped --runs-dir {tmp_path}",
        "interrupted",
    ]
    before = evaluations.read_text()
    where = ("--runs-dir", str(tmp_path))
    unfinished = bitfront("compare", "stopped", *where)
    assert unfinished.status == 0
    assert "not finished" in unfinished.out
    status, _ = stopped("--resume", "stopped", sent=signal.SIGKILL, after=len(before.splitlines()) + 3)
    assert status == -signal.SIGKILL
    resumed = bitfront("compare", "--resume", "stopped", *where, "--json")
    assert resumed.status == 0, resumed.err
    document = json.loads(resumed.out)
    assert document["searches"][0]["evaluations"] == 36
    lines = evaluations.read_text().splitlines()
    assert lines[: len(before.splitlines())] == before.splitlines()
    assert len({json.loads(line)["digest"] for line in lines}) == len(lines) == 36
