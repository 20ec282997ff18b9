"""Places of an evaluation spec: absolute, moved, and an entry of a weights file among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec, absolute_place


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    return tmp_path / "w.pth"


def test_an_entry_stays_with_its_file(file: Path) -> None:
    assert absolute_place("checkpoint", "w.pth:model.ema") == f"{file}:model.ema"
    assert absolute_place("checkpoint", "w.pth") == str(file)
    assert absolute_place("checkpoint", "none.pth:ema") == "none.pth:ema"
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", checkpoint="w.pth:ema").at_absolute_places()
    assert spec.checkpoint == f"{file}:ema"
    assert EvaluationSpec.from_json(spec.to_json()) == spec


def test_weights_that_move_keep_their_entry(file: Path) -> None:
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", checkpoint="/gone/w.pth:ema", image_size="24")  # type: ignore[arg-type]
    moved = spec.moved(checkpoint="w.pth")
    assert moved.checkpoint == f"{file}:ema"
    assert moved.image_size == (24, 24)
    assert spec.moved(checkpoint="w.pth:model").checkpoint == f"{file}:model"
    assert EvaluationSpec(model="digits_deit", scheme="fq-vit", checkpoint="/gone/w.pth").moved(
        checkpoint="w.pth"
    ).checkpoint == str(file)


def test_a_folder_that_is_the_model_is_found_from_anywhere(file: Path) -> None:
    assert EvaluationSpec(scheme="fq-vit", model="local-dir:.").model == f"local-dir:{file.parent}"
    assert EvaluationSpec(scheme="fq-vit", model="local-dir:none").model == "local-dir:none"


def test_a_refinement_is_a_place_that_is_written_where_it_is_set(file: Path) -> None:
    plain = EvaluationSpec(model="digits_deit", scheme="deploy")
    assert "refinement" not in plain.to_json()  # as specs of earlier versions
    refined = plain.moved(refinement="w.pth")
    assert refined.refinement == str(file)
    assert EvaluationSpec.from_json(refined.to_json()) == refined
    assert refined.places["refinement"] == str(file)
