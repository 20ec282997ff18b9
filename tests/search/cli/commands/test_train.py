"""``bitfront train``: checks before the training, and what it reports after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS
from bitfront.evaluators.training import digits as training
from bitfront.evaluators.training.digits import TrainingProgress, TrainingResult
from bitfront.search.cli.main import main


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
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert next(iter(DIGITS_MODELS)) == DEFAULT
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in DIGITS_MODELS)
    assert main(["train", "--model", "digits_swim"]) == 2
    assert "did you mean digits_swin" in capsys.readouterr().err
    assert calls == []


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
