"""A folder of small images, and trainings of them that take a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 images of 20x20 pixels in three class folders; noise with more of one colour."""
    folder, rng = tmp_path_factory.mktemp("data") / "coloured", np.random.default_rng(0)
    for channel, name in zip((2, 1, 0), CLASSES, strict=True):
        (folder / name).mkdir(parents=True)
        for index in range(32):
            pixels = rng.integers(0, 120, (20, 20, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02d}.png")
    return folder


@pytest.fixture
def training_of(coloured: Path) -> Callable[..., TrainingSpec]:
    """A training of timm's smallest ViT, whose images are made 32x32; any field may be another."""

    def made(teacher: TeacherSpec | None = None, **changes: Any) -> TrainingSpec:
        evaluation: dict[str, Any] = {
            "model": "test_vit",
            "data": str(coloured),
            "image_size": (32, 32),
            **{f"{split}_images": 12 for split in ("calibration", "search", "test")},
        }
        recipe: dict[str, Any] = {"epochs": 2, "batch": 16, "threads": 1, "precision": "float32"}
        names = {field.name for field in dataclasses.fields(TrainingRecipe)}
        for name, value in changes.items():
            (recipe if name in names else evaluation)[name] = value
        return TrainingSpec(EvaluationSpec(**evaluation), TrainingRecipe(**recipe), teacher)

    return made
