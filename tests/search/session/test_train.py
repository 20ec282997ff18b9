"""Training from Python: the folder with its picture, and the search of what was trained."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitfront.search as public
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.recipe import TrainingRecipe, TrainingSpec
from bitfront.search.cli.options.specs import evaluation_spec
from bitfront.search.cli.parser import parse
from bitfront.search.reports.plots.training import draw_curves
from bitfront.search.reports.training import search_words
from bitfront.search.session.train import default_folder, resume_training, train
from bitfront.spaces import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("1", "2", "10"):  # which class folders in two orders are
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{index}.png")
    return tmp_path / "images"


def spec_of(data: Path, **recipe: object) -> TrainingSpec:
    evaluation = EvaluationSpec(
        model="test_vit", data=str(data), image_size=(32, 32), calibration_images=10, seed=1
    )
    usual = {"epochs": 2, "batch": 16, "threads": 1, "precision": "float32", "ema_decay": 0.5}
    return TrainingSpec(evaluation, TrainingRecipe(**{**usual, **recipe}))  # type: ignore[arg-type]


def test_a_training_and_the_search_of_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[tuple[str, float]] = []
    found = train(spec_of(Path("images")), progress=lambda text, share: told.append((text, share)))
    assert found.folder == Path("test_vit-images")
    assert (found.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert ("training, 2 epochs", 1.0) in told
    # The printed search has the splits that were kept out of the training.
    args = parse(shlex.split(shlex.join(search_words(found))))
    searched = evaluation_spec(args, (4, 8))
    assert (searched.checkpoint, searched.data) == (str(found.checkpoint.absolute()), str(data))
    assert searched.class_order == "plain"
    from bitfront.evaluators.context.preparing import source_of, splits_of
    from bitfront.evaluators.training.images import training_sides

    splits = splits_of(searched, source_of(searched))
    sides = training_sides(found.spec.evaluation)
    assert splits.to_json() == sides.splits.to_json()
    seen = {index for part in splits.to_json().values() for index in part}
    assert len(seen) + found.train_images == 60
    with pytest.raises(UserError, match="test_vit-images holds files: choose another folder"):
        train(spec_of(Path("images")))
    with pytest.raises(UserError, match="the training has ended"):
        resume_training(found.folder)


def test_default_folders() -> None:
    for model, data, expected in (
        ("digits_deit", "digits", "digits_deit-digits"),
        ("hf-hub:timm/deit_tiny", "cifar10:some/cifar", "deit_tiny-cifar"),
        ("test_vit", "my data/labels.csv", "test_vit-labels"),
    ):
        spec = TrainingSpec(EvaluationSpec(model=model, data=data))
        assert default_folder(spec) == Path(expected)


def test_curves_without_an_average(data: Path, tmp_path: Path) -> None:
    found = train(spec_of(data, ema_decay=0.0, epochs=1), tmp_path / "out")
    assert list(found.figures) == ["model.safetensors"]
    assert found.difference == {}
    assert not (tmp_path / "out" / "model_ema.safetensors").exists()
    figure = draw_curves(found)
    losses, shares = figure.axes
    assert [len(line.get_xdata()) for line in losses.lines] == [1, 1]  # type: ignore[arg-type]
    assert len(shares.lines) == 1
    assert shares.get_ylabel().startswith("top-1 %")


def test_is_offered_to_notebooks() -> None:
    assert public.train is train
    assert public.TrainingSpec is TrainingSpec
    assert {"train", "resume_training", "TrainingRecipe", "TeacherSpec"} <= set(public.__all__)
