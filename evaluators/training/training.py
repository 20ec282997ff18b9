"""A whole training: from its spec to a folder with weights, curves and what they are worth; resumed to the bit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from bitfront.evaluators.context.machine import available_cpus, describe_environment, device_named
from bitfront.evaluators.context.preparing import compute_in_float32
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.source import remarks_of
from bitfront.evaluators.data.splits import check_labels
from bitfront.evaluators.models.checkpoint import write_weights
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.tasks.metric import Metric, Outputs
from bitfront.evaluators.tasks.quality import standard_errors
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.evaluators.training.distillation import Teacher, cached_logits, load_teacher
from bitfront.evaluators.training.folder import (
    AVERAGE,
    MODEL,
    STATE,
    read_record,
    read_state,
    timm_config,
    write_config,
    write_curves,
    write_record,
    write_state,
)
from bitfront.evaluators.training.images import (
    Batch,
    Sides,
    TrainingImages,
    classes_in,
    draws_of_its_own,
    training_sides,
)
from bitfront.evaluators.training.learner import Learner
from bitfront.evaluators.training.loop import Position, epochs_of
from bitfront.evaluators.training.model import freeze_prefix, starting_model
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

# Seconds between two states within an epoch.
SAVE_EVERY = 120.0
# Images of the search split that are looked at after every epoch.
MOST_WATCHED = 1000
JUDGED_BATCH = 64
# Beside the metrics that every evaluation has; of more classes they take longer than an epoch.
_FURTHER, _MOST_CLASSES = ("macro_f1", "roc_auc"), 100
# An average that keeps more of its start than this is worth a word.
_MUCH = 0.2
# Epochs that are told in lines of their own.
_MOST_LINES = 20


@dataclass(frozen=True)
class Figures:
    """What trained weights are worth on the test split.

    Attributes:
        values: By metric, in its unit.
        errors: Standard errors of these.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]


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
    state = read_state(folder, spec) if resumed else None
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
        self.folder, self._audience, self._save_every = folder, audience, save_every
        self.notes: list[str] = []
        self.sides = sides = training_sides(spec.evaluation)
        for sentence in (*remarks_of(sides.source), *sides.notes):
            self._note(sentence)
        self.task = task = task_named(spec.evaluation.task)
        _check_kind(sides, task)
        mapped = spec.evaluation.class_map is not None
        wanted = classes_in(sides.source, task.multiple)
        self.start = starting_model(sides.spec, wanted, spec.recipe.seed, mapped)
        for sentence in self.start.notes:
            self._note(sentence)
        module: Any = self.start.module
        self.classes = int(module.num_classes)
        check_labels(sides.source, self.classes, task.multiple, mapped)
        recipe = spec.recipe.settled(self.start.trained, self.start.data_config["input_size"])
        freeze_prefix(module, recipe.freeze)
        # As it was given: what is settled follows from it, and a state knows its training by it.
        self.spec, self.recipe = spec, recipe
        self.images = TrainingImages(sides, recipe, self.start.data_config, self.classes, task.multiple)
        device = device_named(spec.evaluation.device)
        module.to(device)
        self.watched = self._held_out("search")
        teacher, kept = self._teacher(device)
        steps = self.images.batches_per_epoch
        self.learner = Learner(
            module, recipe, self.start.data_config, steps * recipe.epochs, steps, task.multiple, teacher, kept
        )
        self.position, self.precision, self._before = Position(), "", 0.0
        self._started = self._saved = time.monotonic()

    def run(self, state: Mapping[str, Any] | None) -> Training:
        """Trains to the end, or until Ctrl-C."""
        if state is None:
            self.precision = self.learner.choose_precision(next(self.images.batches(0)))
        else:
            self.learner.load_state(state["learner"])
            self.position, self.precision = Position(**state["position"]), state["precision"]
            self._before = float(state["seconds"])
            self._note(
                f"resumed after {count_of(self.position.epoch, 'epoch')} and {self.position.step} steps"
            )
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
            return self._result({}, {}, interrupted=True)
        return self._finished()

    def _describe(self) -> None:
        recipe, learner = self.recipe, self.learner
        frozen = sum(not parameter.requires_grad for parameter in learner.module.parameters())
        kept = f", {count_of(frozen, 'tensor')} frozen" if frozen else ""
        self._note(
            f"recipe: {recipe.augment} images, learning rate {recipe.learning_rate:g}, {recipe.schedule}, layer "
            f"decay {recipe.layer_decay:g}, {self.precision}{kept}"
        )
        start = recipe.ema_decay**learner.steps
        if recipe.ema_decay and not recipe.ema_warmup and start > _MUCH:
            self._note(
                f"average of the weights: after {learner.steps} steps it keeps {100 * start:.0f} % of its start: "
                "give --ema-warmup, a smaller --ema-decay or more --epochs"
            )

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        self._audience.note(sentence)

    def _teacher(self, device: torch.device) -> tuple[Teacher | None, torch.Tensor | None]:
        if self.spec.teacher is None:
            return None, None
        if self.task.multiple:
            raise UserError("--teacher is for one class to an image: leave --task out, or the teacher")
        teacher = load_teacher(self.spec.teacher, self.classes, self.start.data_config, device)
        self._note(teacher.note)
        values = torch.cat(
            [
                teacher.logits(self.watched.pixels[rows].float().to(device)).cpu()
                for rows in _rows(self.watched)
            ]
        )
        metric = self.task.metric(self.task.primary)
        told = metric.written(metric.value(self._outputs(values, values, self.watched)))
        self._note(f"teacher: {metric.title} {told} on {len(self.watched)} images of the search split")
        if not self.recipe.fixed_images:
            self._note("teacher: its logits are computed on the fly, as images are varied at random")
            return teacher, None
        with self._audience.stage("teacher's logits") as share_done:
            kept, known = cached_logits(teacher, self.images, JUDGED_BATCH, share_done)
        place = "were in the cache" if known else "are kept in the cache"
        self._note(f"teacher: its logits of images that never vary {place}")
        return teacher, kept

    def _held_out(self, split: str) -> PreprocessedImages:
        indices = getattr(self.sides.splits, split)
        indices = indices[:MOST_WATCHED] if split == "search" else indices
        return load_images(self.sides.source, indices, self.start.data_config)

    def _after_epoch(self, loss: float) -> None:
        row = {"epoch": float(self.position.epoch), "learning_rate": self.learner.learning_rate, "loss": loss}
        for prefix, module in self._modules().items():
            values = self._classified(module, self.watched)
            outputs = self._outputs(values, values, self.watched)
            row |= {f"{prefix}{metric.name}": metric.value(outputs) for metric in self._curve_metrics()}
        self.position.rows.append({**row, "seconds": round(self._seconds(), 3)})
        write_curves(self.folder, self.position.rows)
        self._save()
        done, epochs = self.position.epoch, self.recipe.epochs
        if done % max(1, epochs // _MOST_LINES) == 0 or done == epochs:
            self._audience.note(f"epoch {done}/{epochs}: {self._in_words(row)}")

    def _in_words(self, row: Mapping[str, float]) -> str:
        metric = self.task.metric(self.task.primary)
        told = [f"loss {row['loss']:.4f}"]
        for prefix, name in (("held_out_", metric.title), ("ema_held_out_", "with averaged weights")):
            if (value := row.get(f"{prefix}{metric.name}")) is not None:
                told.append(f"{name} {metric.written(value)}")
        return ", ".join(told)

    def _curve_metrics(self) -> list[Metric]:
        return [self.task.metric(name) for name in (self.task.loss, self.task.primary)]

    def _modules(self) -> dict[str, nn.Module]:
        """The weights that are judged, by the prefix of their columns."""
        average = self.learner.average
        return {"held_out_": self.learner.module} | (
            {} if average is None else {"ema_held_out_": average.module}
        )

    @torch.no_grad()
    def _classified(self, module: nn.Module, images: PreprocessedImages) -> torch.Tensor:
        training = module.training
        module.eval()
        found = [module(batch.to(self.learner.device)).cpu() for batch, _ in images.batches(JUDGED_BATCH)]
        module.train(training)
        return torch.cat(found)

    def _outputs(self, values: torch.Tensor, reference: torch.Tensor, images: PreprocessedImages) -> Outputs:
        given = Outputs(values, reference, images.labels, self.sides.source.class_names)
        return self.task.arithmetic.outputs(given)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _save(self) -> None:
        """Writes what the training goes on from, and the record that says what it is."""
        state = {
            "learner": self.learner.state(),
            "position": self.position.to_state(),
            "precision": self.precision,
            "seconds": self._seconds(),
        }
        if self.position.step == 0:
            write_record(self.folder, self._document(self._result({}, {}, interrupted=True)))
        write_state(self.folder, self.spec, state)
        self._saved = time.monotonic()

    def _finished(self) -> Training:
        files = dict(zip((MODEL, AVERAGE), self._modules().values(), strict=False))
        images = self._held_out("test")
        values = {file: self._classified(module, images) for file, module in files.items()}
        last = list(values)[-1]
        outputs = self._outputs(values[last], values[MODEL], images)
        metrics = self._metrics()
        errors = standard_errors(outputs, metrics)
        figures = {
            MODEL: Figures(
                {metric.name: metric.value(outputs.of_reference()) for metric in metrics},
                {metric.name: errors[metric.name].reference for metric in metrics},
            ),
            last: Figures(
                {metric.name: metric.value(outputs) for metric in metrics},
                {metric.name: errors[metric.name].value for metric in metrics},
            ),
        }
        difference = {}
        if last != MODEL:
            for metric in metrics:
                gained = figures[last].values[metric.name] - figures[MODEL].values[metric.name]
                difference[metric.name] = gained, errors[metric.name].difference
        found = self._result(figures, difference, len(images))
        self._write_weights({file: module.state_dict() for file, module in files.items()}, found)
        write_record(self.folder, self._document(found))
        (self.folder / STATE).unlink(missing_ok=True)
        return found

    def _write_weights(self, states: Mapping[str, Mapping[str, torch.Tensor]], found: Training) -> None:
        size = found.spec.evaluation.image_size
        arguments = {} if size is None else {"img_size": list(size)}
        config = timm_config(
            self.learner.module, self.start.data_config, self.sides.source.class_names, arguments
        )
        name, facts = found.spec.evaluation.model, {"seed": self.recipe.seed, "epochs": self.recipe.epochs}
        write_config(self.folder, name, config)
        for file, state in states.items():
            whole = {key: value.cpu().float().contiguous().clone() for key, value in state.items()}
            header = {"architecture": name, **facts, **self.start.metadata(name, whole)}
            write_weights(whole, self.folder / file, header)

    def _metrics(self) -> list[Metric]:
        """Those of outputs alone that every evaluation has, and further ones."""
        named = {metric.name for metric in self.task.metrics}
        further = [name for name in _FURTHER if name in named and self.classes <= _MOST_CLASSES]
        measured = self.task.measured((*further, *self.spec.evaluation.metrics))
        return [metric for metric in measured if metric.of_outputs_alone]

    def _result(
        self,
        figures: Mapping[str, Figures],
        difference: Mapping[str, tuple[float, float]],
        test_images: int = 0,
        interrupted: bool = False,
    ) -> Training:
        evaluation = dataclasses.replace(self.sides.spec, **self.start.decided)
        spec = dataclasses.replace(self.spec, evaluation=evaluation, recipe=self.recipe)
        return Training(
            spec=spec,
            folder=self.folder,
            interrupted=interrupted,
            figures=figures,
            difference=difference,
            best=self._best(),
            rows=self.position.rows,
            train_images=len(self.images),
            test_images=test_images,
            steering_images=len(self.watched),
            classes=self.classes,
            precision=self.precision,
            seconds=self._seconds(),
            notes=tuple(self.notes),
        )

    def _best(self) -> str:
        """The weights that do better on the images that steer; plain ones where both do alike."""
        metric = self.task.metric(self.task.primary)
        last = self.position.rows[-1] if self.position.rows else {}
        plain, average = (last.get(f"{prefix}held_out_{metric.name}") for prefix in ("", "ema_"))
        better = plain is not None and average is not None and metric.sign * (average - plain) > 0
        return AVERAGE if better else MODEL

    def _document(self, found: Training) -> dict[str, Any]:
        """The record: as a resumed training reads it, with what was chosen beside it."""
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


def _check_kind(sides: Sides, task: Task) -> None:
    """Refuses labels of another kind than the task's, in the words of every other command."""
    if task.multiple != (sides.source.labels.ndim == 2):
        check_labels(sides.source, 0, task.multiple)


def _rows(images: PreprocessedImages) -> Iterator[slice]:
    return (slice(start, start + JUDGED_BATCH) for start in range(0, len(images), JUDGED_BATCH))
