"""What a study is asked for, kept in its folder so that it can go on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.models.digits_models import DIGITS_MODELS, has_weights
from bitfront.evaluators.tasks.registry import CLASSIFICATION
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.session.bench_options import BASELINES
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

FORMAT, VERSION = "bitfront/study", 1
SETTINGS = "study.json"
# What is studied unless another model is named: the built-in student of the plain digits.
STUDENT = "digits_vit"
BATCHES = (1, 8)
# What suits the small built-in models, whose trainings are of few steps.
_BUILT_IN: dict[str, Any] = {"learning_rate": 1e-3, "ema_decay": 0.99}
_BUILT_IN_EPOCHS = {"digits": 30, "cluttered": 20}
# Timm's smallest of two families, about as large as these models; larger ones take no images so small, or
# hours.
SMALL_BASELINES = "test_resnet,test_efficientnet"


def usual_recipe(model: str) -> TrainingRecipe:
    """The recipe of a study unless another is asked for."""
    if model not in DIGITS_MODELS:
        return TrainingRecipe()
    return TrainingRecipe(epochs=_BUILT_IN_EPOCHS[DIGITS_MODELS[model].data], **_BUILT_IN)


def usual_teacher(model: str) -> TeacherSpec | None:
    """Who teaches unless another is named: the built-in model of the same data that comes with weights."""
    if model not in DIGITS_MODELS:
        return None
    data = DIGITS_MODELS[model].data
    name = next(name for name, other in DIGITS_MODELS.items() if other.data == data and has_weights(name))
    return TeacherSpec(name, pretrained=True)


def usual_baselines(model: str) -> str:
    """The networks that are trained alike unless others are named, between commas."""
    return SMALL_BASELINES if model in DIGITS_MODELS else BASELINES


def _usual_student() -> TrainingSpec:
    return TrainingSpec(EvaluationSpec(model=STUDENT), usual_recipe(STUDENT), usual_teacher(STUDENT))


@dataclass(frozen=True)
class StudySpec:
    """What is studied.

    Attributes:
        student: The model that is distilled, with its data, recipe, first seed and teacher.
        train_teacher: Whether the teacher is fine-tuned first, from the weights that it has and by the recipe
            of the student; otherwise it teaches with these.
        teacher_image_size: Of the teacher that is fine-tuned; None for that of the student.
        baselines: Networks of timm that are trained by the same recipe, from labels alone; those that take no
            images of that size are left out.
        baseline_weights: By their names, files of weights that they begin with.
        pretrained_baselines: Whether the others begin with timm's weights; with random ones otherwise.
        seeds: Trainings of the student, each with a seed of its own; baselines are trained once.
        runtimes: What runs graphs, the first of which judges INT8 networks; None for the first that is
            installed. Torch takes part in any case.
        batches: Images of a batch that is timed.
        budget_s: Seconds for timing; None for the whole protocol, however long it takes.
        refine_images: Images that refining learns from; None for what suits.
        refine_passes: Times that it learns from every image.
    """

    student: TrainingSpec = field(default_factory=_usual_student)
    train_teacher: bool = False
    teacher_image_size: tuple[int, int] | None = None
    baselines: tuple[str, ...] = tuple(usual_baselines(STUDENT).split(","))
    baseline_weights: Mapping[str, str] = field(default_factory=dict)
    pretrained_baselines: bool = False
    seeds: int = 1
    runtimes: tuple[str, ...] | None = None
    batches: tuple[int, ...] = BATCHES
    budget_s: float | None = None
    refine_images: int | None = None
    refine_passes: int = RefinementSpec.passes

    def check(self) -> None:
        """Refuses what cannot be studied, before anything is loaded.

        Raises:
            UserError: There is no teacher or no average, another task, or a part is out of range.
        """
        spec = self.student.evaluation
        if self.student.teacher is None:
            raise UserError(
                f"a study distills, and {spec.model} has no teacher: name one with --teacher, such as "
                "deit_small_patch16_224"
            )
        if spec.task != CLASSIFICATION:
            raise UserError(f"--task {spec.task}: a study is of {CLASSIFICATION}: leave the option out")
        if spec.metrics:
            named = ",".join(spec.metrics)
            raise UserError(f"--metrics {named}: a study has its own three: leave the option out")
        if not self.student.recipe.ema_decay:
            raise UserError("--ema-decay 0: a study compares averaged weights: give a number from 0 to 1")
        for name, value in (("--seeds", self.seeds), ("--refine-passes", self.refine_passes)):
            if value < 1:
                raise UserError(f"{name} {value} is too small: give 1 or more")
        if self.budget_s is not None and not (math.isfinite(self.budget_s) and self.budget_s > 0):
            raise UserError(f"--budget {self.budget_s:g} is out of range: give a time above 0, such as 10m")
        for name in self.baseline_weights:
            if name not in self.baselines:
                raise UserError(
                    f"--baseline-checkpoint {name}=FILE: it is no baseline: name one of "
                    f"{', '.join(self.baselines) or 'some that --baselines lists'}"
                )
        self.student.check()

    @property
    def teacher(self) -> TeacherSpec:
        """Whom the student learns from."""
        assert self.student.teacher is not None, "it is checked"
        return self.student.teacher

    def of_seed(self, place: int, teacher: TeacherSpec | None) -> TrainingSpec:
        """The training of the student with the seed at a place, alone or from a teacher."""
        recipe = dataclasses.replace(self.student.recipe, seed=self.student.recipe.seed + place)
        return dataclasses.replace(self.student, recipe=recipe, teacher=teacher)

    def of_teacher(self) -> TrainingSpec:
        """The training of the teacher."""
        spec, teacher = self.student.evaluation, self.teacher
        evaluation = dataclasses.replace(
            spec,
            model=teacher.model,
            checkpoint=teacher.checkpoint,
            pretrained=teacher.pretrained,
            image_size=self.teacher_image_size or spec.image_size,
            widths=(),
        )
        return TrainingSpec(evaluation, self.student.recipe)

    def of_baseline(self, name: str, data_config: Mapping[str, Any]) -> TrainingSpec:
        """The training of a network on the very pixels that the student sees.

        Args:
            name: timm's.
            data_config: timm's resolved preprocessing of the student; networks are normalised as their own
                weights were.
        """
        weights = self.baseline_weights.get(name)
        seen: dict[str, Any] = {key: data_config[key] for key in ("crop_pct", "interpolation", "crop_mode")}
        evaluation = dataclasses.replace(
            self.student.evaluation,
            model=name,
            checkpoint=weights,
            pretrained=self.pretrained_baselines and weights is None,
            image_size=tuple(data_config["input_size"][1:]),
            mean=None,
            std=None,
            widths=(),
            **seen,
        )
        return TrainingSpec(evaluation, dataclasses.replace(self.student.recipe, freeze=0))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        weights = dict(self.baseline_weights)
        return {**vars(self), "student": self.student.to_json(), "baseline_weights": weights}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StudySpec:
        """The inverse of :meth:`to_json`; KeyError or TypeError where it is none."""
        known = {**document, "student": TrainingSpec.from_json(document["student"])}
        for name in ("teacher_image_size", "baselines", "runtimes", "batches"):
            known[name] = None if known[name] is None else tuple(known[name])
        return cls(**known)

    def write(self, folder: Path) -> None:
        """Writes ``study.json``."""
        document = {"format": FORMAT, "version": VERSION, "spec": self.to_json()}
        write_atomically(folder / SETTINGS, json.dumps(document, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> StudySpec:
        """Reads ``study.json``.

        Raises:
            UserError: The folder is none of a study, or the file is damaged or of another version.
        """
        path = folder / SETTINGS
        if not path.is_file():
            raise UserError(
                f"{folder} is no folder of a study ({SETTINGS} is missing): give one that `bitfront "
                "study` wrote"
            )
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if (document["format"], document["version"]) != (FORMAT, VERSION):
                raise ValueError(f"format {document['format']!r}, version {document['version']!r}")
            return cls.from_json(document["spec"])
        except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({one_line(error, 80)}): restore it from a copy, "
                "or begin again with --force"
            ) from error
