"""Images of three classes, 32x32, as trainings in tests see them."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.training.images import TrainingImages, training_sides
from bitfront.evaluators.training.recipe import TrainingSpec

CONFIG: dict[str, Any] = {
    "input_size": (3, 32, 32),
    "interpolation": "bilinear",
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "crop_pct": 1.0,
    "crop_mode": "center",
}


def images_of(spec: TrainingSpec) -> TrainingImages:
    """The images that a training learns from."""
    recipe = spec.recipe.settled(True, (3, 32, 32))
    return TrainingImages(training_sides(spec.evaluation), recipe, CONFIG, classes=3, multiple=False)
