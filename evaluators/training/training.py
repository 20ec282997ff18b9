"""A whole training: from its spec to a folder with weights and what they are worth; resumed to the bit."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn

from bitfront.evaluators.context.machine import available_cpus, describe_environment, device_named
from bitfront.evaluators.context.preparing import compute_in_float32
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.source import remarks_of
from bitfront.evaluators.data.splits import check_labels
from bitfront.evaluators.models.checkpoint import write_weights
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.training.distillation import Teacher, cached_logits, load_teacher
from bitfront.evaluators.training.folder import (
    AVERAGE,
    MODEL,
    STATE,
    read_record,
    state_in,
    timm_config,
    write_config,
    write_curves,
    write_record,
    write_state,
)
from bitfront.evaluators.training.images import (
    Batch,
    TrainingImages,
    classes_in,
    draws_of_its_own,
    training_sides,
)
from bitfront.evaluators.training.judging import (
    AVERAGED,
    BATCH,
    PLAIN,
    Figures,
    HeldOut,
    outputs_of,
    pixel_batches,
)
from bitfront.evaluators.training.learner import Learner
from bitfront.evaluators.training.loop import Position, epochs_of
from bitfront.evaluators.training.model import StartingModel, check_batches, starting_model
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

# Seconds between two states within an epoch.
SAVE_EVERY = 120.0
# An average that keeps more of its start than this is worth a word.
_MUCH = 0.2
# Epochs that are told in lines of their own.
_MOST_LINES = 20


@dataclass(frozen=True)
class Training:
    """A training, finished or interrupted.

    Attributes:
        spec: With all that was left to choose, and the sizes of splits by which a search has images that were
            not trained on.
        folder: Where everything is.
        interrupted: Whether it can be resumed; then there are no figures.
        figures: By file of weights: ``model.safetensors``, and ``model_ema.safetensors`` of their average.
        difference: Of the average to the plain weights by metric, and its standard error, on the same images.
        best: The file that does better on the images that steer.
        rows: The curves: a row for every epoch.
        train_images: Images that were trained on.
        test_images: Images of the figures.
        steering_images: Images of the curves.
        classes: Of the model.
        precision: What products were computed in.
        seconds: Of the training, without what was lost by interruptions.
        notes: What was decided.
    """

    spec: TrainingSpec
    folder: Path
    interrupted: bool
    figures: Mapping[str, Figures]
    difference: Mapping[str, tuple[float, float]]
    best: str
    rows: list[dict[str, float]]
    train_images: int
    test_images: int
    steering_images: int
    classes: int
    precision: str
    seconds: float
    notes: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        """The weights to go on with."""
        return self.folder / self.best

    def to_json(self) -> dict[str, Any]:
        """The document that ``training.json`` holds, and that ``--json`` prints."""
        document = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **document,
            "spec": self.spec.to_json(),
            "folder": self.folder.name,
            "figures": {file: dataclasses.asdict(found) for file, found in self.figures.items()},
            "difference": {name: list(pair) for name, pair in self.difference.items()},
            "notes": list(self.notes),
        }


class Audience(Protocol):
    """Is told how a training goes; a session's reporter is one."""

    def stage(self, text: str) -> AbstractContextManager[ShareDone]:
        """A step, for as long as the block runs; the value takes the share of it that is done."""

    def note(self, text: str) -> None:
        """A sentence."""


class Nobody:
    """An audience that is not there."""

    def stage(self, text: str) -> AbstractContextManager[ShareDone]:  # noqa: ARG002
        """Nothing."""
        return nullcontext(unreported)

    def note(self, text: str) -> None:
        """Nothing."""


def train_model(
    spec: TrainingSpec,
    folder: Path,
    *,
    resumed: bool = False,
    audience: Audience | None = None,
    save_every: float = SAVE_EVERY,
) -> Training:
    """Trains a model and writes its folder; the same spec gives the same weights on one machine and thread.

    Args:
        spec: What is trained, how; for a resumed one, as its record has it.
        folder: Where to write; it is there.
        resumed: Whether to go on from the state in the folder.
        audience: Is told how it goes.
        save_every: Seconds between two states within an epoch.

    Returns:
        The training; ``interrupted`` where Ctrl-C ended it, which keeps its last state.

    Raises:
        UserError: The spec cannot be carried out, or there is no state to go on from.
        BitfrontError: Something cannot be downloaded or written.
    """
    spec.check()
    compute_in_float32()
    state = state_in(folder, spec) if resumed else None
    with torch_threads(spec.recipe.threads or available_cpus()), draws_of_its_own():
        return _Session(spec, folder, audience or Nobody(), save_every).run(state)


def resume_training(
    folder: Path, audience: Audience | None = None, save_every: float = SAVE_EVERY
) -> Training:
    """Goes on with a training that was interrupted or killed; it ends in the weights that it would have had.

    Raises:
        UserError: The folder is none of a training, or has nothing to go on from.
    """
    spec, _ = read_record(folder)
    return train_model(spec, folder, resumed=True, audience=audience, save_every=save_every)


class _Session:
    """All that a training is made of, put together once."""

    def __init__(self, spec: TrainingSpec, folder: Path, audience: Audience, save_every: float) -> None:
        # As it was given: what is settled follows from it, and a state knows its training by it.
        self.spec, self.folder, self._audience, self._save_every = spec, folder, audience, save_every
        self.notes: list[str] = []
        self.task = task_named(spec.evaluation.task)
        self.sides = training_sides(spec.evaluation, spec.recipe.train_images)
        self._note(*remarks_of(self.sides.source), *self.sides.notes)
        self.start = self._starting_model()
        module: Any = self.start.module
        self.classes = int(module.num_classes)
        config = self.start.data_config
        self.recipe = recipe = spec.recipe.settled(self.start.trained, config["input_size"])
        self.start.freeze(recipe.freeze)
        module.to(device_named(spec.evaluation.device))
        self.images = TrainingImages(self.sides, recipe, config, self.classes, self.task.multiple)
        self.held_out = HeldOut(self.sides, self.task, config, self.classes, spec.evaluation.metrics)
        teacher, kept = self._teacher()
        check_batches(module, len(self.images), recipe.batch)
        steps = self.images.batches_per_epoch
        self.learner = Learner(
            module, recipe, config, steps * recipe.epochs, steps, self.task.multiple, teacher, kept
        )
        self.position, self.precision, self._before = Position(), "", 0.0
        self._started = self._saved = time.monotonic()

    def _note(self, *sentences: str) -> None:
        for sentence in sentences:
            self.notes.append(sentence)
            self._audience.note(sentence)

    def _starting_model(self) -> StartingModel:
        source, multiple = self.sides.source, self.task.multiple
        if multiple != (source.labels.ndim == 2):
            check_labels(source, 0, multiple)  # which says so
        mapped = self.spec.evaluation.class_map is not None
        found = starting_model(self.sides.spec, classes_in(source, multiple), self.spec.recipe.seed, mapped)
        check_labels(source, int(found.module.num_classes), multiple, mapped)  # type: ignore[arg-type]
        self._note(*found.notes)
        return found

    def _teacher(self) -> tuple[Teacher | None, torch.Tensor | None]:
        """Whom the model learns from, and its logits on all images where these never vary."""
        if self.spec.teacher is None:
            return None, None
        if self.task.multiple:
            raise UserError("--teacher is for one class to an image: leave --task out, or the teacher")
        device = next(self.start.module.parameters()).device
        teacher = load_teacher(self.spec.teacher, self.classes, self.start.data_config, device)

        def classify(images: PreprocessedImages) -> torch.Tensor:
            return torch.cat([teacher.logits(part.to(device)).cpu() for part in pixel_batches(images)])

        metric, watched = self.held_out.metric, count_of(len(self.held_out.watched), "image")
        value = self.held_out.curve(classify, "")[metric.name]
        self._note(
            teacher.note, f"teacher: {metric.title} {metric.written(value)} on {watched} of the search split"
        )
        if not self.recipe.fixed_images:
            self._note("teacher: its logits are computed on the fly, as images are varied at random")
            return teacher, None
        with self._audience.stage("teacher's logits") as share_done:
            kept, known = cached_logits(teacher, self.images, BATCH, share_done)
        place = "were in the cache" if known else "are kept in the cache"
        self._note(f"teacher: its logits of images that never vary {place}")
        return teacher, kept

    def run(self, state: Mapping[str, Any] | None) -> Training:
        """Trains to the end, or until Ctrl-C."""
        if state is None:
            self.precision = self.learner.choose_precision(next(self.images.batches(0)))
        else:
            self.learner.load_state(state["learner"])
            self.position, self.precision = Position(**state["position"]), state["precision"]
            self._before = float(state["seconds"])
            done = count_of(self.position.epoch, "epoch"), count_of(self.position.step, "step")
            self._note(f"resumed after {' and '.join(done)}")
        self._describe()
        self._started = time.monotonic()
        try:
            self._save()
            with self._audience.stage(f"training, {count_of(self.recipe.epochs, 'epoch')}") as share_done:

                def after_step() -> None:
                    share_done(self.learner.done / self.learner.steps)
                    if time.monotonic() - self._saved >= self._save_every:
                        self._save()

                for loss in epochs_of(_Lessons(self), self.position, after_step):
                    self._after_epoch(loss)
        except KeyboardInterrupt:
            return self._result(interrupted=True)
        return self._finished()

    def _describe(self) -> None:
        recipe, steps = self.recipe, self.learner.steps
        frozen = sum(not parameter.requires_grad for parameter in self.learner.module.parameters())
        kept = f", {count_of(frozen, 'tensor')} frozen" if frozen else ""
        self._note(
            f"recipe: {recipe.augment} images, learning rate {recipe.learning_rate:g}, {recipe.schedule}, "
            f"layer decay {recipe.layer_decay:g}, {self.precision}{kept}"
        )
        start = recipe.ema_decay**steps
        if recipe.ema_decay and not recipe.ema_warmup and start > _MUCH:
            self._note(
                f"average of the weights: after {count_of(steps, 'step')} it keeps {100 * start:.0f} % of "
                "its start: give --ema-warmup, a smaller --ema-decay or more --epochs"
            )

    def _after_epoch(self, loss: float) -> None:
        done, epochs = self.position.epoch, self.recipe.epochs
        row = {"epoch": float(done), "learning_rate": self.learner.last_rate, "loss": loss}
        for prefix, module in self._modules().items():
            row |= self.held_out.curve(partial(outputs_of, module), prefix)
        self.position.rows.append({**row, "seconds": round(self._seconds(), 3)})
        write_curves(self.folder, self.position.rows)
        self._save()
        if done % max(1, epochs // _MOST_LINES) == 0 or done == epochs:
            self._audience.note(f"epoch {done}/{epochs}: {self._in_words(row)}")

    def _in_words(self, row: Mapping[str, float]) -> str:
        metric, told = self.held_out.metric, [f"loss {row['loss']:.4f}"]
        for prefix, name in ((PLAIN, metric.title), (AVERAGED, "with averaged weights")):
            if (value := row.get(f"{prefix}{metric.name}")) is not None:
                told.append(f"{name} {metric.written(value)}")
        return ", ".join(told)

    def _modules(self) -> dict[str, nn.Module]:
        """The weights that are judged, by the prefix of their columns."""
        average = self.learner.average
        return {PLAIN: self.learner.module} | ({} if average is None else {AVERAGED: average.module})

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _save(self) -> None:
        """Writes what the training goes on from, and at an epoch the record that says what it is."""
        state = {
            "learner": self.learner.state(),
            "position": self.position.to_state(),
            "precision": self.precision,
            "seconds": self._seconds(),
        }
        if self.position.step == 0:
            write_record(self.folder, self._document(self._result(interrupted=True)))
        write_state(self.folder / STATE, json.dumps(self.spec.to_json()), state)
        self._saved = time.monotonic()

    def _finished(self) -> Training:
        files = dict(zip((MODEL, AVERAGE), self._modules().values(), strict=False))
        judged = self.held_out.figures({file: partial(outputs_of, module) for file, module in files.items()})
        found = self._result(*judged)
        self._write_weights({file: module.state_dict() for file, module in files.items()}, found)
        write_record(self.folder, self._document(found))
        (self.folder / STATE).unlink(missing_ok=True)
        return found

    def _write_weights(self, states: Mapping[str, Mapping[str, torch.Tensor]], found: Training) -> None:
        size = found.spec.evaluation.image_size
        arguments = {} if size is None or not self.start.quantized else {"img_size": list(size)}
        names = self.sides.source.class_names
        config = timm_config(self.learner.module, self.start.data_config, names, arguments)
        name, facts = found.spec.evaluation.model, {"seed": self.recipe.seed, "epochs": self.recipe.epochs}
        write_config(self.folder, name, config)
        for file, state in states.items():
            whole = {key: value.cpu().float().contiguous().clone() for key, value in state.items()}
            header = {"architecture": name, **facts, **self.start.metadata(name, whole)}
            write_weights(whole, self.folder / file, header)

    def _result(
        self,
        figures: Mapping[str, Figures] = MappingProxyType({}),
        difference: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        test_images: int = 0,
        interrupted: bool = False,
    ) -> Training:
        evaluation = dataclasses.replace(self.sides.spec, **self.start.decided)
        return Training(
            spec=dataclasses.replace(self.spec, evaluation=evaluation, recipe=self.recipe),
            folder=self.folder,
            interrupted=interrupted,
            figures=figures,
            difference=difference,
            best=self._best(),
            rows=self.position.rows,
            train_images=len(self.images),
            test_images=test_images,
            steering_images=len(self.held_out.watched),
            classes=self.classes,
            precision=self.precision,
            seconds=self._seconds(),
            notes=tuple(self.notes),
        )

    def _best(self) -> str:
        """The weights that do better on the images that steer; plain ones where both do alike."""
        metric = self.held_out.metric
        last = self.position.rows[-1] if self.position.rows else {}
        plain, average = (last.get(f"{prefix}{metric.name}") for prefix in (PLAIN, AVERAGED))
        better = plain is not None and average is not None and metric.sign * (average - plain) > 0
        return AVERAGE if better else MODEL

    def _document(self, found: Training) -> dict[str, Any]:
        """The record: the spec as a resumed training reads it, what was settled, and all else."""
        known = found.to_json()
        return {
            "spec": self.spec.to_json(),
            "settled": known.pop("spec"),
            **{name: value for name, value in known.items() if name != "folder"},
            "data": self.sides.source.name,
            "class_names": self.sides.source.class_names,
            "environment": describe_environment(),
        }


@dataclass
class _Lessons:
    """The course of a session; see :class:`~bitfront.evaluators.training.loop.Course`."""

    session: _Session

    @property
    def epochs(self) -> int:
        return self.session.recipe.epochs

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        return self.session.images.batches(epoch, start)

    def learn(self, batch: Batch) -> tuple[float, int]:
        return self.session.learner.learn(batch), len(batch.places)
