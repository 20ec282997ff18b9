"""``bitfront train``: checks before the training, and what it reports after."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS
from bitfront.evaluators.training import digits as training
from bitfront.evaluators.training.digits import TrainingProgress, TrainingResult
from bitfront.evaluators.training.judging import Figures
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.evaluators.training.training import Training
from bitfront.search.cli.main import main
from bitfront.search.cli.parser import parse
from bitfront.search.session import train as session


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the training, which takes minutes, and records what it was asked for."""
    made: list[dict[str, Any]] = []

    def train(output: Path, *, progress: Any, **options: Any) -> TrainingResult:
        made.append({"output": output, **options})
        for epoch in range(1, 21):
            progress(TrainingProgress(epoch, 20, 1 / epoch, float(epoch)))
        output.write_bytes(b"weights")
        return TrainingResult(options["model"], output, 20, 1078, 719, 98.89, 20.0, 7)

    monkeypatch.setattr(training, "train_digits", train)
    return made


def test_reports_the_held_out_accuracy(
    tmp_path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w.safetensors"
    assert main(["train", "--output", str(output), "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert "98.89 % top-1 on 719 held-out images" in captured.out
    assert captured.err.count("epoch ") == 10
    assert f"bitfront search --checkpoint {output}" in captured.err
    assert calls == [{"output": output, "model": "cluttered_deit", "seed": 3}]


def test_json_is_the_result(
    tmp_path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w.safetensors"
    assert main(["train", "--output", str(output), "--epochs", "5", "--threads", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["path"] == str(output)
    assert result["held_out_top1"] == 98.89
    assert result["model"] == "cluttered_deit"
    assert calls == [{"output": output, "model": "cluttered_deit", "seed": 0, "epochs": 5, "threads": 1}]


def test_other_models_have_files_and_hints_of_their_own(
    tmp_path: Path,
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--model", "digits_swin"]) == 0
    hint = "bitfront search --model digits_swin --checkpoint digits_swin.safetensors"
    assert hint in capsys.readouterr().err
    assert calls == [{"output": Path("digits_swin.safetensors"), "model": "digits_swin", "seed": 0}]


def test_every_digits_model_is_a_choice(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert next(iter(DIGITS_MODELS)) == DEFAULT
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in DIGITS_MODELS)
    assert main(["train", "--model", "digits_swim", "--output", str(tmp_path / "out")]) == 2
    assert "the nearest names are digits_swin" in capsys.readouterr().err
    assert calls == []


class TestAnyModel:
    """What is asked of the session, and what is printed of its result."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        made: list[Any] = []

        def train(spec: TrainingSpec, output: Any, **options: Any) -> Training:
            made.append((spec, output, options["overwrite"]))
            return training_of(spec, output or Path("here"))

        monkeypatch.setattr(session, "train", train)
        return made

    @pytest.mark.parametrize(
        "words",
        [
            ["--model", "digits_deit", "--data", "digits"],
            ["--pretrained"],
            ["--batch", "64"],
            ["--model", "deit_tiny_patch16_224"],
            ["--teacher", "digits_deit", "--teacher-pretrained"],
        ],
    )
    def test_options_that_the_built_in_recipe_does_not_have(
        self, asked: list[Any], calls: list[dict[str, Any]], words: list[str]
    ) -> None:
        assert main(["train", *words]) == 0
        assert len(asked) == 1
        assert calls == []

    def test_all_of_it_arrives(self, asked: list[Any], tmp_path: Path) -> None:
        words = (
            f"--model test_vit --data {tmp_path} --test-data digits --image-size 48 --mean 0.5 --seed 4 "
            f"--split-seed 3 --search-images 50 --output {tmp_path / 'out'} --force --epochs 7 --batch 8 "
            "--learning-rate 0.01 --schedule poly --warmup-epochs 0.5 --layer-decay 0.6 --augment none "
            "--mixup 0.2 --cutmix 0.3 --ema-decay 0.9 --ema-warmup --freeze 2 --accumulate 2 "
            "--precision bf16 --loaders 1 --threads 1 --teacher resnet18 --teacher-checkpoint t.pth "
            "--alpha 0.7 --train-images 90 --temperature 3 --metrics macro_f1"
        )
        assert main(["train", *words.split()]) == 0
        ((spec, output, overwrite),) = asked
        assert (output, overwrite) == (tmp_path / "out", True)
        evaluation = spec.evaluation
        assert (evaluation.model, evaluation.data, evaluation.test_data) == (
            "test_vit",
            str(tmp_path),
            "digits",
        )
        assert (evaluation.image_size, evaluation.mean, evaluation.seed) == ((48, 48), (0.5,), 3)
        assert (evaluation.search_images, evaluation.metrics) == (50, ("macro_f1",))
        assert spec.recipe == TrainingRecipe(
            train_images=90, epochs=7, batch=8,
            learning_rate=0.01, schedule="poly", warmup_epochs=0.5, layer_decay=0.6,
            augment="none", mixup=0.2, cutmix=0.3, ema_decay=0.9, ema_warmup=True, freeze=2, accumulate=2,
            precision="bf16", loaders=1, threads=1, alpha=0.7, temperature=3.0, seed=4,
        )  # fmt: skip
        assert spec.teacher == TeacherSpec("resnet18", "t.pth")

    def test_left_out_options_are_the_recipes_defaults(self, asked: list[Any]) -> None:
        assert main(["train", "--model", "test_vit", "--data", "digits"]) == 0
        assert asked[0][0].recipe == TrainingRecipe()
        assert asked[0][0].teacher is None

    def test_a_table_and_the_search_that_goes_on(
        self, asked: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        words = ["--data", str(tmp_path), "--search-images", "50", "--test-images", "40", "--split-seed", "2"]
        assert main(["train", "--model", "test_vit", "--output", str(tmp_path / "my out"), *words]) == 0
        captured = capsys.readouterr()
        assert "98.00 ± 1.00" in captured.out
        assert "98.50 ± 0.80" in captured.out
        assert "+0.50 ± 0.30" in captured.out
        (line,) = [line for line in captured.err.splitlines() if line.startswith("next: ")]
        args = parse(shlex.split(line.removeprefix("next: "))[1:])
        assert (args.command, args.model, args.data) == ("search", "test_vit", str(tmp_path))
        assert args.checkpoint == str(tmp_path / "my out" / "model_ema.safetensors")
        assert (args.search_images, args.test_images, args.seed) == (50, 40, 2)

    def test_json_is_the_record(self, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", "--model", "test_vit", "--data", "digits", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["figures"]["model.safetensors"]["values"]["top1"] == 98.0
        assert (document["best"], document["folder"]) == ("model_ema.safetensors", "here")

    def test_interrupted_ones_say_how_to_go_on(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        found = dataclasses.replace(training_of(TrainingSpec(), tmp_path / "a b"), interrupted=True)
        monkeypatch.setattr(session, "train", lambda *_, **__: found)
        assert main(["train", "--batch", "3"]) == 130
        args = parse(shlex.split(capsys.readouterr().err.removeprefix("next: "))[1:])
        assert (args.command, args.resume) == ("train", tmp_path / "a b")

    def test_a_built_in_recipe_is_resumed_by_its_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked: list[Any] = []

        def resume(output: Path, threads: int | None, progress: Any) -> TrainingResult:
            asked.append((output, threads))
            progress(TrainingProgress(20, 20, 0.1, 3.0))
            return TrainingResult("digits_vit", output, 20, 1078, 719, 98.89, 20.0, 7)

        monkeypatch.setattr(training, "resume_digits", resume)
        output = tmp_path / "w.safetensors"
        training.state_beside(output).write_bytes(b"")
        assert main(["train", "--resume", str(output), "--threads", "2"]) == 0
        assert asked == [(output, 2)]
        captured = capsys.readouterr()
        assert "98.89 % top-1" in captured.out
        assert f"bitfront search --model digits_vit --checkpoint {output}" in captured.err

    def test_an_interrupted_built_in_recipe_says_how_to_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def train(*_: object, **__: object) -> TrainingResult:
            raise KeyboardInterrupt

        monkeypatch.setattr(training, "train_digits", train)
        assert main(["train", "--output", str(tmp_path / "w.safetensors")]) == 130
        assert f"bitfront train --resume {tmp_path / 'w.safetensors'}" in capsys.readouterr().err

    def test_what_is_resumed_keeps_its_settings(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", "--resume", str(tmp_path), "--epochs", "3"]) == 2
        assert "--epochs cannot be given with --resume" in capsys.readouterr().err
        assert main(["train", "--resume", str(tmp_path)]) == 2
        assert "is no folder of a training (training.json is missing)" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("--model test_vit --schedule up", "invalid choice: 'up'"),
            ("--model test_vit --alpha 0.3", "--alpha is for a teacher: name it with --teacher"),
            ("--teacher-checkpoint a.pth", "--teacher-checkpoint is for a teacher"),
            ("--teacher test_vit", "the teacher test_vit has no weights: give --teacher-checkpoint"),
            ("--data nowhere", "no such data: 'nowhere'"),
            ("--model cait_xxs24_224 --data digits --image-size 32", "takes images of 224x224 alone"),
            ("--model test_resnet --data digits --freeze 1", "a ResNet has no encoders"),
            ("--model digits_deit --freeze 13 --data digits", "--freeze 13: the model has 12 encoders"),
            ("--mixup -1", "--mixup -1 is out of range"),
        ],
    )
    def test_mistakes_are_told_in_a_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
    ) -> None:
        assert main(["train", "--output", str(tmp_path / "out"), *words.split()]) == 2
        captured = capsys.readouterr()
        assert told in captured.err
        assert len(captured.err.strip().splitlines()[-1:]) == 1
        assert "Traceback" not in captured.err


def training_of(spec: TrainingSpec, folder: Path) -> Training:
    """A finished training, without the training."""
    plain, average = Figures({"top1": 98.0}, {"top1": 1.0}), Figures({"top1": 98.5}, {"top1": 0.8})
    return Training(
        spec=spec,
        folder=folder,
        interrupted=False,
        figures={"model.safetensors": plain, "model_ema.safetensors": average},
        difference={"top1": (0.5, 0.3)},
        best="model_ema.safetensors",
        rows=[],
        train_images=100,
        test_images=40,
        steering_images=50,
        classes=3,
        precision="float32",
        seconds=12.0,
        notes=(),
    )


def test_existing_file_is_kept_without_force(
    tmp_path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w.safetensors"
    output.write_text("mine")
    assert main(["train", "--output", str(output)]) == 2
    assert "--force" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert calls == []
    assert main(["train", "--output", str(output), "--force"]) == 0


@pytest.mark.parametrize(
    ("name", "expected"), [("absent/w.safetensors", "there is no folder"), (".", "it is a folder")]
)
def test_bad_output_is_told_before_the_training(
    tmp_path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    assert main(["train", "--output", str(tmp_path / name)]) == 2
    assert expected in capsys.readouterr().err
    assert calls == []
