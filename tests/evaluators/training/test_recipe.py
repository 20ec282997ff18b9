"""Specs of trainings: what is refused, what suits a model, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bitfront.evaluators.training.recipe import POLICY, TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.spaces import UserError


class TestChecks:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"schedule": "sawtooth"},
                "unknown --schedule 'sawtooth': choose one of cosine, tanh, poly, step",
            ),
            ({"precision": "fp8"}, "unknown --precision 'fp8': choose one of auto, float32, bf16"),
            ({"learning_rate": -1.0}, "--learning-rate -1 is out of range: give a number from 0 to 10"),
            ({"learning_rate": float("nan")}, "--learning-rate nan is out of range"),
            ({"batch": 0}, "--batch 0 is out of range: give 1 or more"),
            ({"alpha": 1.5}, "--alpha 1.5 is out of range: give a number from 0 to 1"),
            ({"temperature": 0.0}, "--temperature 0 is out of range"),
            ({"ema_decay": 1.0}, "--ema-decay 1 would keep the initial weights for ever"),
        ],
    )
    def test_values_that_nothing_can_be_trained_with(self, changes: dict[str, Any], told: str) -> None:
        with pytest.raises(UserError, match=told):
            TrainingRecipe(**changes).check()

    def test_every_number_has_a_range(self) -> None:
        numbers = {name for name, value in vars(TrainingRecipe()).items() if type(value) in (int, float)}
        for name in numbers:
            with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"):
                TrainingRecipe(**{name: -1}).check()

    def test_a_teacher_has_one_source_of_weights(self) -> None:
        with pytest.raises(
            UserError, match=r"the teacher resnet18 has no weights: give --teacher-checkpoint"
        ):
            TrainingSpec(teacher=TeacherSpec("resnet18")).check()
        with pytest.raises(UserError, match="both --teacher-checkpoint and --teacher-pretrained"):
            TrainingSpec(teacher=TeacherSpec("resnet18", "a.pth", pretrained=True)).check()


class TestSettled:
    def test_what_suits_small_and_grey_images(self) -> None:
        small = TrainingRecipe().settled(True, (3, 32, 32))
        grey = TrainingRecipe().settled(True, (1, 224, 224))
        assert (small.augment, small.crop_scale, small.mirror) == ("light", 0.7, 0.5)
        assert (grey.augment, grey.crop_scale, grey.mirror) == ("light", 0.35, 0.0)
        assert TrainingRecipe().settled(True, (3, 224, 224)).augment == POLICY

    def test_what_suits_random_weights(self) -> None:
        began, random = (TrainingRecipe().settled(trained, (3, 32, 32)) for trained in (True, False))
        assert (began.learning_rate, began.layer_decay) == (1e-3, 0.75)
        assert (random.learning_rate, random.layer_decay) == (5e-4, 1.0)

    def test_what_was_asked_for_stays(self) -> None:
        asked = TrainingRecipe(learning_rate=0.0, layer_decay=0.5, crop_scale=1.0, mirror=0.1, augment="none")
        assert asked.settled(False, (1, 16, 16)) == asked


class TestJson:
    def test_is_read_as_it_was_written(self, training_of: Callable[..., TrainingSpec]) -> None:
        for teacher in (None, TeacherSpec("digits_deit", pretrained=True)):
            spec = training_of(teacher, learning_rate=1e-3, metrics=("macro_f1",), ema_decay=0)
            assert TrainingSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    def test_other_types_are_refused(self) -> None:
        document = TrainingSpec().to_json()
        for name, value in (("epochs", "3"), ("augment", 1), ("learning_rate", [])):
            with pytest.raises(TypeError, match=name):
                TrainingSpec.from_json({**document, "recipe": {**document["recipe"], name: value}})
