"""``bitfront compare-samplers``: mistakes are one line, and the whole way on a few images."""

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

import pytest
from PIL import Image

from bitfront.search.cli.parser import parse
from bitfront.search.samplers.registry import SAMPLERS

# A few images prepared the simple way.
SMALL = (
    "--model", "digits_deit", "--space", "encoder", "--objectives", "kl,size", "--latency", "model:bops",
    "--recipe", "fq-vit",
    "--calibration-images", "16", "--search-images", "40", "--batch-size", "40", "--threads", "1",
    "--workers", "1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--samplers", "nsga2,tpe"], "unknown sampler 'tpe': choose one of surrogate-nsga2, nsga2, "),
        (["--samplers", ""], "unknown sampler ''"),
        (["--seeds", "0"], "'0' is not a whole number above 0"),
        (["--bits", "8"], "a search needs at least two widths"),
        (["--max-size", "huge"], "--max-size 'huge' is not a limit"),
        (["--sampler", "nsga2"], "has no option --sampler: did you mean --samplers?"),
        (["--resume", "nights"], "there is no comparison 'nights' in runs"),
        (["--resume", "../x"], "'../x' is not a name for a run"),
        (["--resume", "night", "--max-drop", "1"], "--max-drop cannot be given with --resume"),
        (["--run", "a", "--resume", "b"], "not allowed with"),
    ],
)
def test_mistakes_are_one_line(
    bitfront: Callable, arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = bitfront("compare-samplers", *arguments)
    assert outcome.status == 2
    assert expected in outcome.error
    assert not list(tmp_path.glob("runs/*")), "a comparison that cannot be begun leaves nothing"


def test_help_names_every_sampler(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["compare-samplers", "--help"])
    shown = capsys.readouterr().out
    for name, kind in SAMPLERS.items():
        assert f"{name:17}{kind.summary}" in shown


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_is_complete_and_goes_on(bitfront: Callable, tmp_path: Path) -> None:
    where = ("--runs-dir", str(tmp_path))
    words = ("--samplers", "nsga2,random", "--seeds", "1", "--evaluations", "8", "--run", "small")
    outcome = bitfront("compare-samplers", *SMALL, *where, *words)
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "small"
    assert "hypervolume in the tight box" in outcome.out
    assert f"next: bitfront compare-samplers --resume small --runs-dir {tmp_path} --seeds 10" in outcome.err
    assert (folder / "comparison.md").read_text().startswith("digits_deit, space encoder (12 genes, 4,096 ")
    with Image.open(folder / "comparison.png") as picture:
        assert picture.width > 700
    assert bitfront("runs", *where).out.count("small") == 0, "a comparison is no run"
    before = (folder / "evaluations.jsonl").read_text()

    more = (
        "--samplers",
        "nsga2,exhaustive",
        "--seeds",
        "2",
        "--evaluations",
        "6",
        "--workers",
        "1",
        "--tested",
    )
    again = bitfront("compare-samplers", "--resume", "small", *where, *more, "--json")
    assert again.status == 0, again.err
    document = json.loads(again.out)
    assert [(s["sampler"], s["seeds"]) for s in document["samplers"]] == [
        ("nsga2", [0, 1]), ("exhaustive", [0, 1])
    ]  # fmt: skip
    assert document["evaluations"] == 6
    assert not document["interrupted"]
    test = document["test"]
    assert test["images"] > 100
    assert {name: len(marked) for name, marked in test["samplers"].items()} == dict.fromkeys(
        ("nsga2", "exhaustive"), len(document["marks"])
    )
    assert len((folder / "test_evaluations.jsonl").read_text().splitlines()) <= document["evaluated"]
    assert all(Path(file).exists() for file in document["files"])
    after = (folder / "evaluations.jsonl").read_text()
    assert after.startswith(before), "what was evaluated is not evaluated again"
    assert document["evaluated"] == len(after.splitlines())
    with (folder / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_space_too_large_for_the_truth_is_refused_before_evaluating(
    bitfront: Callable, tmp_path: Path
) -> None:
    # Where bytes alone are traded off, weights alone can pay: 4,096 configurations, which may be tried.
    words = [*(word if word != "encoder" else "encoder-kind" for word in SMALL), "--all-genes"]
    outcome = bitfront("compare-samplers", *words, "--runs-dir", str(tmp_path), "--truth", "--run", "big")
    assert outcome.status == 2
    assert "space encoder-kind has 68,719,476,736 (2^36) configurations" in outcome.error
    assert not (tmp_path / "big").exists()


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitfront.search.cli", "compare-samplers", "--runs-dir", str(tmp_path)]
    words = ("--samplers", "random", "--seeds", "2", "--evaluations", "60", "--run", "stopped")
    process = subprocess.Popen(
        [*command, *SMALL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    kept = tmp_path / "stopped" / "evaluations.jsonl"
    while not (kept.exists() and len(kept.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-2:] == [
        f"next: bitfront compare-samplers --resume stopped --runs-dir {tmp_path}",
        "interrupted",
    ]
    assert len(kept.read_text().splitlines()) >= 3
