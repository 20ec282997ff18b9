"""The trainings of a study: teacher, student alone and distilled, networks; each done once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.classifiers import load_classifier
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.evaluators.training.folder import AVERAGE, MODEL, RECORD, STATE, read_record
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingSpec
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_spec import StudySpec
from bitfront.search.session.train import resume_training, train
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

ALONE, DISTILLED, TEACHER = "alone", "distilled", "teacher"
# What decides nothing of a training: its pace, and fields of an evaluation that only a search reads.
_PACE = ("threads", "loaders")
_UNREAD = frozenset(
    ("device", "threads", "batch_size", "metrics", "widths", "scheme", "recipe", "without", "observer")
)


@dataclass(frozen=True)
class Trained:
    """A training that has ended.

    Attributes:
        folder: Where its weights are.
        record: What ``training.json`` says.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def evaluation(self) -> EvaluationSpec:
        """Model, data and splits, with all that was left to choose."""
        return EvaluationSpec.from_json(self.record["settled"]["evaluation"])

    @property
    def best(self) -> str:
        """The file of weights that does better on the images that steer."""
        return str(self.record["best"])

    def spec_of(self, file: str) -> EvaluationSpec:
        """What evaluates one of its files of weights, on the CPU."""
        place = str((self.folder / file).resolve())
        return dataclasses.replace(self.evaluation, checkpoint=place, pretrained=False, device="cpu")

    def load(self, file: str) -> LoadedModel:
        """The float model of one of its files of weights."""
        spec = self.spec_of(file)
        return load_classifier(spec.model, checkpoint=spec.checkpoint, options=spec.image_options)


class Trainings:
    """All trainings of a study; each is done when it is first asked for.

    Args:
        spec: What is studied.
        folder: Where.
        reporter: Is told of the steps.
    """

    def __init__(self, spec: StudySpec, folder: StudyFolder, reporter: Reporter) -> None:
        self._spec, self._folder, self._reporter = spec, folder, reporter
        self.left_out: dict[str, str] = {}

    def teacher(self) -> TeacherSpec:
        """Whom the student learns from, fine-tuned first where that is asked for."""
        if not self._spec.train_teacher:
            return self._spec.teacher
        found = self._trained(TEACHER, self._spec.of_teacher())
        return TeacherSpec(self._spec.teacher.model, str((found.folder / found.best).resolve()))

    def student(self, way: str, place: int) -> Trained:
        """The student, alone or distilled, with the seed at a place."""
        teacher = self.teacher() if way == DISTILLED else None
        return self._trained(f"{way}-{place}", self._spec.of_seed(place, teacher))

    def baselines(self) -> dict[str, Trained]:
        """The networks that take images of the student's size; why others do not is in ``left_out``."""
        config, found = self.student(DISTILLED, 0).load(MODEL).data_config, {}
        for name in self._spec.baselines:
            if name in self.left_out:
                continue
            fault = _refusal(name, tuple(config["input_size"][1:]))
            if fault:
                self.left_out[name] = fault
                self._reporter.note(f"{name} is left out: {fault}")
                continue
            try:
                found[name] = self._trained(name, self._spec.of_baseline(name, config))
            except UserError:
                raise
            except BitfrontError as error:  # such as a loss that is no number: the others go on
                self.left_out[name] = one_line(error, 200)
                self._reporter.note(f"{name} is left out: {self.left_out[name]}")
        return found

    def _trained(self, name: str, spec: TrainingSpec) -> Trained:
        """A training that is done, gone on with, or read."""
        folder = self._folder.training(name)
        begun = (folder / RECORD).is_file()
        if begun and _essence(read_record(folder)[0]) != _essence(spec):
            raise UserError(
                f"{folder} holds a training of other settings than this study's: move it away, and go on "
                "with --resume"
            )
        resumed = begun and (folder / STATE).is_file()
        if resumed or not (begun and (folder / MODEL).is_file()):
            self._reporter.note(f"{'going on with' if resumed else 'begins'}: {name.replace('-', ', seed ')}")
            if resumed:
                done = resume_training(folder, progress=self._reporter)
            else:
                done = train(spec, folder, overwrite=True, progress=self._reporter)
            if done.interrupted:
                raise KeyboardInterrupt
        return Trained(folder, read_record(folder)[1])


def _refusal(name: str, sides: tuple[int, ...]) -> str:
    """Why a network takes no images of a size, in a sentence; empty where it does."""
    from bitfront.evaluators.latency.bench.torch_entries import baseline_module

    shape = (3, *sides)
    try:
        with torch.inference_mode():
            baseline_module(name, shape, 2)(torch.zeros(1, *shape))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        return f"it takes no images of {sides[0]}x{sides[1]} ({one_line(error, 120)})"
    return ""


def _essence(spec: TrainingSpec) -> dict[str, Any]:
    """What makes a training another one, wherever its files lie and on how many threads it runs."""
    document = spec.to_json()
    evaluation = {name: value for name, value in document["evaluation"].items() if name not in _UNREAD}
    for name in ("checkpoint", "data", "calibration_data", "test_data", "class_map"):
        if evaluation.get(name):
            evaluation[name] = Path(evaluation[name]).name
    teacher = document["teacher"] or {}
    recipe = {name: value for name, value in document["recipe"].items() if name not in _PACE}
    return {"evaluation": evaluation, "recipe": recipe, "teacher": teacher.get("model")}


def weights_of(averaged: bool) -> str:
    """The file of averaged or plain weights."""
    return AVERAGE if averaged else MODEL
