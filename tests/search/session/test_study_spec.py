"""What a study is asked for: defaults, what is refused, its trainings, and its file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.search.session.study_figures import file_bytes, mean_of
from bitfront.search.session.study_spec import StudySpec, usual_baselines, usual_teacher
from bitfront.spaces import UserError

DEIT = "deit_tiny_patch16_224"
CONFIG = {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center"}


def spec_of(**changes: Any) -> StudySpec:
    evaluation = EvaluationSpec(model=DEIT, checkpoint="t.pth", data="cifar10:c.tar", image_size=(48, 48))
    teacher = TeacherSpec("deit_small_patch16_224", "s.pth")
    student = TrainingSpec(evaluation, TrainingRecipe(seed=3, freeze=2), teacher)
    usual: dict[str, Any] = {"student": student, "train_teacher": True, "baselines": ("resnet18",)}
    return StudySpec(**{**usual, **changes})


def test_the_default_is_the_built_in_student_and_its_teacher() -> None:
    spec = StudySpec()
    spec.check()
    assert (spec.student.evaluation.model, spec.student.evaluation.data) == ("digits_vit", "digits")
    assert spec.teacher == TeacherSpec("digits_deit", pretrained=True)
    assert not spec.train_teacher
    assert spec.baselines == tuple(usual_baselines("digits_vit").split(","))
    assert usual_teacher("cluttered_vit") == TeacherSpec("cluttered_deit", pretrained=True)
    assert usual_teacher(DEIT) is None
    assert usual_baselines(DEIT) == "resnet18,mobilenetv3_large_100,convnext_tiny"


def test_trainings_differ_in_what_they_are_about_alone() -> None:
    spec = spec_of(teacher_image_size=(96, 96), baseline_weights={"resnet18": "r.pth"})
    assert spec.of_seed(2, None).recipe.seed == 5
    assert spec.of_seed(0, spec.teacher) == spec.student
    teacher = spec.of_teacher()
    found = teacher.evaluation
    assert (found.model, found.checkpoint, found.image_size) == ("deit_small_patch16_224", "s.pth", (96, 96))
    assert teacher.teacher is None
    assert teacher.recipe == spec.student.recipe
    network = spec.of_baseline("resnet18", CONFIG)
    found = network.evaluation
    assert (found.model, found.checkpoint, found.image_size) == ("resnet18", "r.pth", (48, 48))
    assert (found.crop_pct, found.interpolation, found.mean) == (1.0, "bilinear", None)
    assert network.recipe == dataclasses.replace(spec.student.recipe, freeze=0)
    other = spec_of(pretrained_baselines=True).of_baseline("resnet18", CONFIG).evaluation
    assert (other.checkpoint, other.pretrained) == (None, True)


def test_its_file_is_read_again(tmp_path: Path) -> None:
    for spec in (StudySpec(), spec_of(seeds=3, budget_s=60.0, baseline_weights={"resnet18": "r.pth"})):
        spec.write(tmp_path)
        assert StudySpec.read(tmp_path) == spec


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no folder of a study \(study.json is missing\)"):
        StudySpec.read(tmp_path)
    spec_of().write(tmp_path)
    document = json.loads((tmp_path / "study.json").read_text())
    for damage in ({**document, "version": 99}, {**document, "spec": {"seeds": 1}}, []):
        (tmp_path / "study.json").write_text(json.dumps(damage))
        with pytest.raises(UserError, match="is damaged or of another version"):
            StudySpec.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student": TrainingSpec(EvaluationSpec(model=DEIT))}, "has no teacher: name one with --teacher"),
        ({"seeds": 0}, "--seeds 0 is too small"),
        ({"refine_passes": 0}, "--refine-passes 0 is too small"),
        ({"budget_s": 0.0}, "--budget 0 is out of range"),
        ({"baseline_weights": {"resnet50": "r.pth"}}, "resnet50=FILE: it is no baseline"),
    ],
)
def test_what_cannot_be_studied(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        spec_of(**changes).check()


@pytest.mark.parametrize(
    ("field", "changes", "told"),
    [
        ("evaluation", {"task": "multilabel"}, "--task multilabel: a study is of classification"),
        ("evaluation", {"metrics": ("ece",)}, "--metrics ece: a study has its own three"),
        ("recipe", {"ema_decay": 0.0}, "--ema-decay 0: a study compares averaged weights"),
        ("teacher", {"checkpoint": None}, "the teacher deit_small_patch16_224 has no weights"),
    ],
)
def test_students_that_cannot_be_studied(field: str, changes: dict[str, Any], told: str) -> None:
    student = spec_of().student
    part = dataclasses.replace(getattr(student, field), **changes)
    with pytest.raises(UserError, match=told):
        spec_of(student=dataclasses.replace(student, **{field: part})).check()


def test_errors_of_images_are_not_averaged_away_over_seeds() -> None:
    assert mean_of([[80.0, 0.5]]) == [80.0, 0.5, None]
    assert mean_of([[80.0, 0.5], [82.0, 0.7]]) == [81.0, pytest.approx(0.6), pytest.approx(1.0)]
    assert mean_of([[80.0, None]]) == [80.0, None, None]
    assert mean_of([]) == [None, None, None]


def test_sizes_are_those_of_torch_before_those_of_graphs() -> None:
    rows = [
        {"model": "a", "kind": "quantized", "runtime": runtime, "file_bytes": size}
        for runtime, size in (("openvino", 5), ("torch", 6))
    ]
    times = [{"rows": [*rows, {**rows[0], "model": "b"}]}]
    assert file_bytes(times, "a", "quantized") == 6
    assert file_bytes(times, "b", "quantized") == 5
    assert file_bytes(times, "a", "dynamic") is None
    assert file_bytes([], "a", "quantized") is None
