"""``bitfront study``: its options become a spec, its tables are printed, and mistakes are told in a line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from recorded_study import figures

from bitfront.evaluators.training.recipe import TeacherSpec
from bitfront.search.cli.main import main
from bitfront.search.cli.parser import parse
from bitfront.search.session import study as session
from bitfront.search.session.study import Study
from bitfront.search.session.study_spec import StudySpec

DEIT = ("--model", "deit_tiny_patch16_224", "--checkpoint", "t.pth", "--data", "cifar10:c.tar")
TEACHER = ("--teacher", "deit_small_patch16_224", "--teacher-checkpoint", "s.pth")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What sessions were asked for; they have a recorded study."""
    found: list[Any] = []

    def recorded(*given: Any, **further: Any) -> Study:
        found.append((*given, further))
        return Study(tmp_path / "s t", figures())

    for name in ("study", "resume_study"):
        monkeypatch.setattr(session, name, recorded)
    return found


def test_without_options_it_is_the_default(asked: list[Any]) -> None:
    assert main(["study"]) == 0
    spec, output, further = asked[0]
    assert (spec, output, further["overwrite"]) == (StudySpec(), None, False)


def test_options_become_a_spec(asked: list[Any]) -> None:
    words = (
        "--output here --image-size 48 --teacher-image-size 96 --train-images 500 --epochs 4 --seeds 2 "
        "--baselines resnet18,convnext_tiny --baseline-checkpoint resnet18=r.pth --batches 1 --budget 90s "
        "--seed 7 --refine-images 64 --refine-passes 2 --split-seed 3 --ema-warmup --force"
    )
    assert main(["study", *DEIT, *TEACHER, *words.split()]) == 0
    spec, output, further = asked[0]
    assert (output, further["overwrite"]) == (Path("here"), True)
    evaluation, recipe = spec.student.evaluation, spec.student.recipe
    assert (evaluation.model, evaluation.image_size, evaluation.seed) == (
        "deit_tiny_patch16_224",
        (48, 48),
        3,
    )
    assert (recipe.epochs, recipe.seed, recipe.ema_warmup, recipe.train_images) == (4, 7, True, 500)
    assert (recipe.learning_rate, recipe.ema_decay) == (None, 0.999)
    assert spec.teacher == TeacherSpec("deit_small_patch16_224", "s.pth")
    assert (spec.train_teacher, spec.teacher_image_size) == (True, (96, 96))
    assert (spec.baselines, spec.baseline_weights) == (("resnet18", "convnext_tiny"), {"resnet18": "r.pth"})
    assert (spec.seeds, spec.batches, spec.budget_s) == (2, (1,), 90.0)
    assert (spec.refine_images, spec.refine_passes) == (64, 2)
    assert main(["study", *DEIT, *TEACHER, "--teacher-as-is", "--baselines", "none"]) == 0
    assert not asked[1][0].train_teacher
    assert asked[1][0].baselines == ()


def test_the_tables_and_the_search_that_goes_on(
    asked: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["study"]) == 0
    captured = capsys.readouterr()
    assert "distilled + EMA, refined" in captured.out
    assert str(tmp_path / "s t") in captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith("next: ")]
    args = parse(shlex.split(line.removeprefix("next: "))[1:])
    assert (args.command, args.checkpoint) == ("search", "a b/model_ema.safetensors")


@pytest.mark.parametrize(
    ("form", "sign"), [("csv", "table,model,"), ("markdown", "# "), ("latex", "\\noindent")]
)
def test_other_forms_on_stdout(
    asked: list[Any], capsys: pytest.CaptureFixture[str], form: str, sign: str
) -> None:
    assert main(["study", "--resume", "there", "--format", form, "--time-again"]) == 0
    assert asked[0][0] == Path("there")
    assert asked[0][1]["time_again"]
    assert capsys.readouterr().out.startswith(sign)


def test_json_has_the_figures_and_the_files(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == {"search": 1000, "test": 1200}
    assert document["files"][1].endswith("study.csv")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (DEIT, "a study distills, and deit_tiny_patch16_224 has no teacher: name one with --teacher"),
        (("--model", "resnet18", *TEACHER), "resnet18 cannot be quantized"),
        (("--baselines", "resnet81"), "unknown model 'resnet81'"),
        (("--baseline-checkpoint", "resnet18"), "expected NAME=FILE, such as resnet18=resnet18.pth"),
        (("--baseline-checkpoint", "resnet18=f"), "it is no baseline: name one of test_resnet"),
        (("--ema-decay", "0"), "--ema-decay 0: a study compares averaged weights"),
        (("--time-again",), "--time-again is for a study that was timed before"),
        (("--resume", "x", "--epochs", "3"), "--epochs cannot be given with --resume: x keeps its settings"),
        (("--resume", "nowhere"), "nowhere is no folder of a study"),
        (("--runtimes", "tensorrt"), "unknown runtime 'tensorrt'"),
        (("--batches", "0"), "--batches '0' is no list"),
        (("--teacher-image-size", "x"), "--image-size"),
        (("--data", "nowhere"), "no such data: 'nowhere'"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = () if "--resume" in words else ("--output", str(tmp_path / "s"))
    assert main(["study", *place, *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
