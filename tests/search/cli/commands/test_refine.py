"""``bitfront refine``: which options go together, what is asked of the session, and what is printed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refined_cases import FIGURES, compared

from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.cli.parser import parse
from bitfront.search.runs.refined import RefinedPoint
from bitfront.search.runs.refinement import Refinement
from bitfront.search.session import refine as session
from bitfront.search.session.run import Run, open_run
from bitfront.spaces import BitConfig

Bitfront = Callable[..., Any]


def refinement(run: str | None, trial: int | None, config: BitConfig, path: Path | None) -> Refinement:
    splits = {"search": compared(90.0, 3.0, 300), "test": compared(89.0, 2.0, 200)}
    words = "128 that calibrate"
    point = RefinedPoint(trial, config.digest, "x", "0", words, splits, {"passes": 2}, FIGURES, "1")
    of_file = path is not None and run is None
    return Refinement(
        run=run,
        trial=trial,
        config=config,
        path=path,
        bit_config=path.with_name("bit-config.json") if of_file and path else None,
        point=point,
        metric="top1",
        task="classification",
        why="" if path else "on 300 search images it is worse",
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the session is asked for, which refines nothing; a first entry of None has it not help."""
    made: list[Any] = []

    def refine_run(run: Run, pick: Any, **options: Any) -> Refinement:
        helped = made != [None]
        made[:] = [(run, pick, options)]
        trial = int(run.pick(pick or "knee")["trial"])
        return refinement(run.name, trial, run.config(trial), Path("refined.safetensors") if helped else None)

    def refine(spec: Any, config: Any, output: Any, **options: Any) -> Refinement:
        made[:] = [(spec, config, output, options)]
        return refinement(None, None, config, Path(output or "out") / "refined.safetensors")

    monkeypatch.setattr(session, "refine_run", refine_run)
    monkeypatch.setattr(session, "refine", refine)
    return made


@pytest.fixture
def config(deploy_runs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bits.json"
    config = open_run("small", runs_dir=deploy_runs).config()
    path.write_text(json.dumps(config.to_json()))
    return path


def test_a_point_of_a_run(bitfront: Bitfront, deploy_runs: Path, asked: list[Any]) -> None:
    trial = int(open_run("small", runs_dir=deploy_runs).front["trial"].iloc[0])
    words = ["small", "--runs-dir", deploy_runs, "--pick", trial, "--images", 64, "--seed", 3, "--passes", 5]
    found = bitfront("refine", *words, "--refine-data", "photos", "--held-out", 20, "--threads", 1)
    assert found.status == 0
    ((run, pick, options),) = asked
    assert (run.name, pick) == ("small", str(trial))
    assert options.pop("learning") == RefinementSpec(passes=5, seed=3, held_out=20, threads=1)
    options.pop("progress")
    assert options == {"images": 64, "refine_data": "photos", "force": False}
    assert f"trial {trial} of small" in found.out
    assert "KL to the float model 0.3000 before and 0.1000 after" in found.out
    assert "top-1 %" in found.out
    assert "+3.00 ± 0.40" in found.out
    assert "its bits are what they were" in found.out
    # The printed commands can be run as they are.
    commands = [line.removeprefix("next:").strip() for line in found.err.splitlines() if "bitfront" in line]
    export = f"bitfront export small --pick {trial} --refined --runs-dir {deploy_runs}"
    assert commands[0] == export
    assert parse(shlex.split(export)[1:]).refined


def test_what_did_not_help_is_said(bitfront: Bitfront, deploy_runs: Path, asked: list[Any]) -> None:
    asked[:] = [None]
    found = bitfront("refine", "small", "--runs-dir", deploy_runs)
    assert found.status == 0
    said = "refining did not help, and nothing was changed: on 300 search images it is worse"
    assert said in found.out
    assert "--refined" not in found.err


def test_json(bitfront: Bitfront, deploy_runs: Path, asked: list[Any]) -> None:
    found = bitfront("refine", "small", "--runs-dir", deploy_runs, "--json")
    document = json.loads(found.out)
    assert document["helped"]
    assert document["why"] is None
    assert document["test"]["differences"]["top1"] == [2.0, 0.4]
    assert document["search"]["before"]["top1"] == 90.0
    assert document["figures"]["held_out"] == 64


def test_a_config_of_a_file(bitfront: Bitfront, config: Path, asked: list[Any], tmp_path: Path) -> None:
    words = [
        "--config",
        config,
        "--data",
        "digits",
        "--calibration-images",
        64,
        "--split-seed",
        4,
        "--seed",
        9,
    ]
    found = bitfront("refine", *words, "--output", tmp_path / "out", "--threads", 1)
    assert found.status == 0
    ((spec, read, output, options),) = asked
    assert (spec.seed, spec.calibration_images, spec.data, spec.threads) == (4, 64, "digits", None)
    assert spec.scheme == read.scheme == "deploy"
    assert options["learning"] == RefinementSpec(seed=9, threads=1)
    assert output == tmp_path / "out"
    assert f"bitfront evaluate --config {tmp_path / 'out'}" in found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("small", "--model", "digits_deit"), "--model is for --config: a run has its own model"),
        (("small", "--scheme", "deploy"), "--scheme is for --config"),
        (("small", "--split-seed", "1"), "--split-seed is for --config"),
        (("small", "--config", "F"), "RUN is for a point of a run"),
        (("small", "--output", "F"), "RUN is for a point of a run"),
        (("--config", "F", "--max-size", "1MB"), "--max-size is for a point of a run"),
        (("small", "--resume", "--images", "3"), "--images cannot be given with --resume"),
        (("--output", "F", "--resume", "--data", "digits"), "--data cannot be given with --resume"),
        (("--pick", "3", "--config", "F"), "argument --config: not allowed with argument --pick"),
        (("small", "--images", "none"), "argument --images: 'none' is not a whole number above 0"),
    ],
)
def test_options_that_do_not_go_together(
    bitfront: Bitfront, deploy_runs: Path, asked: list[Any], words: tuple[str, ...], message: str
) -> None:
    runs = [] if "F" in words else ["--runs-dir", str(deploy_runs)]
    found = bitfront("refine", *words, *runs)
    assert found.status == 2
    assert message in found.error
    assert asked == []


def test_a_resumption_asks_for_nothing_else(bitfront: Bitfront, deploy_runs: Path, asked: list[Any]) -> None:
    bitfront("refine", "small", "--runs-dir", deploy_runs, "--resume", "--data", "digits")
    ((_, pick, options),) = asked
    options.pop("progress")
    assert (pick, options) == (None, {"resume": True, "data": "digits"})


def test_limits_choose_among_the_points(bitfront: Bitfront, deploy_runs: Path, asked: list[Any]) -> None:
    run = open_run("small", runs_dir=deploy_runs)
    largest = float(run.front["size_bytes"].median())
    bitfront("refine", "small", "--runs-dir", deploy_runs, "--max-size", f"{largest / 1e6}MB")
    ((narrowed, pick, _),) = asked
    assert len(narrowed.front) < len(run.front)
    assert pick is None


def test_ctrl_c_says_how_to_go_on(
    bitfront: Bitfront, deploy_runs: Path, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "refine_run", interrupted)
    found = bitfront("refine", "small", "--runs-dir", deploy_runs, "--pick", "knee")
    assert found.status == 130
    assert f"bitfront refine small --pick knee --resume --runs-dir {deploy_runs}" in found.err
