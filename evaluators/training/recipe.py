"""What a training is: the model and its data, the recipe, and a teacher; values that JSON holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from bitfront.evaluators.context.spec import EvaluationSpec, absolute_place
from bitfront.spaces import UserError
from bitfront.spaces.schemes import FQ_VIT

# Those of timm's schedules that need nothing but a number of updates.
SCHEDULES = ("cosine", "tanh", "poly", "step")
PRECISIONS = ("auto", "float32", "bf16")
# How images are varied, beside the texts by which timm names its policies.
AUTO, NONE, LIGHT = "auto", "none", "light"
POLICY = "rand-m7-mstd0.5-inc1"
# Images are small where a crop of a tenth of them has too few pixels to tell anything.
SMALL_SIDE = 64
_CROPS = {True: 0.7, False: 0.35}
# Of a model that begins with weights, and of one that begins with none.
_RATES, _LAYER_DECAYS = {True: 1e-3, False: 5e-4}, {True: 0.75, False: 1.0}


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained; what is None suits the model and its images (:meth:`settled`).

    Attributes:
        train_images: Use only so many images, of each class in proportion; None for all there are.
        epochs: Passes over the images.
        batch: Images of a step.
        learning_rate: Largest one of AdamW; in all layers where ``layer_decay`` is 1.
        weight_decay: Of matrices; biases, norms and what timm leaves out have none.
        schedule: How the learning rate goes down: ``cosine``, ``tanh``, ``poly`` (linearly) or ``step`` (a
            tenth after each third), as timm has them.
        warmup_epochs: In which the learning rate rises.
        layer_decay: What the learning rate is multiplied by from a layer to the one before it.
        label_smoothing: Share of a label that goes to all classes alike.
        augment: ``none`` (images as a search sees them), ``light`` (random crops and mirror images), or one
            of timm's policies, such as ``rand-m9-mstd0.5-inc1``; ``auto`` is ``light`` for small and grey
            images.
        crop_scale: Least share of an image that a crop takes.
        mirror: Probability of a mirror image; none of grey ones, which often are texts.
        mixup: Alpha of the beta distribution by which images are mixed (Zhang et al. 2018); 0 for never.
        cutmix: That of pieces of images (Yun et al. 2019).
        ema_decay: Of the moving average of the weights, m_t = b m_(t-1) + (1 - b) theta_t; 0 for none.
        ema_warmup: Whether the average forgets its start sooner, by timm's rule.
        freeze: Encoders that stay as they are, from the first, together with the embedding; 0 for none.
        clip: Largest norm of the gradient.
        accumulate: Parts that a batch is computed in, which need less memory.
        precision: ``float32``, ``bf16`` (autocast), or ``auto`` for what is measured to be quicker.
        alpha: Weight of the teacher in the loss; see
            :func:`~bitfront.evaluators.training.distillation.distillation_loss`.
        temperature: What logits of teacher and student are divided by for that.
        loaders: Processes that load images; 0 to load them between the steps. They import the running script,
            which has to keep the training under ``if __name__ == "__main__":``.
        threads: Torch threads; None for all CPUs.
        seed: Of the initial weights, the order of the images, and all that is random.
    """

    train_images: int | None = None
    epochs: int = 10
    batch: int = 64
    learning_rate: float | None = None
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    layer_decay: float | None = None
    label_smoothing: float = 0.1
    augment: str = AUTO
    crop_scale: float | None = None
    mirror: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    ema_decay: float = 0.999
    ema_warmup: bool = False
    freeze: int = 0
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    alpha: float = 0.5
    temperature: float = 2.0
    loaders: int = 0
    threads: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuses values that nothing can be trained with.

        Raises:
            UserError: One of them.
        """
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise UserError(f"unknown {_option(name)} {value!r}: choose one of {', '.join(known)}")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                span = f"{least:g} or more" if most == math.inf else f"a number from {least:g} to {most:g}"
                raise UserError(f"{_option(name)} {value:g} is out of range: give {span}")
        if self.ema_decay == 1.0:
            raise UserError("--ema-decay 1 would keep the initial weights for ever: give a number below 1")

    @property
    def fixed_images(self) -> bool:
        """Whether the model sees the same images in every epoch."""
        return self.augment == NONE and not self.mixes

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return self.mixup > 0.0 or self.cutmix > 0.0

    def settled(self, trained: bool, input_size: tuple[int, int, int]) -> TrainingRecipe:
        """The recipe with what was left to choose.

        Args:
            trained: Whether the model begins with weights.
            input_size: Channels, height and width of its images.
        """
        channels, *sides = input_size
        small = max(sides) <= SMALL_SIDE
        chosen: dict[str, Any] = {
            "learning_rate": _RATES[trained],
            "layer_decay": _LAYER_DECAYS[trained],
            "crop_scale": _CROPS[small],
            "mirror": 0.5 if channels == 3 else 0.0,
        }
        given = {name: value for name in chosen if (value := getattr(self, name)) is not None}
        if self.augment == AUTO:
            given["augment"] = LIGHT if small or channels == 1 else POLICY
        return dataclasses.replace(self, **{**chosen, **given})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingRecipe:
        """The inverse of :func:`dataclasses.asdict`; unknown fields and other types raise TypeError."""
        recipe = cls(**document)
        for name, kind in get_type_hints(cls).items():
            value = getattr(recipe, name)
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                raise TypeError(f"{name} is {value!r}")
        return recipe


_SHARE, _COUNT = (0.0, 1.0), (1, math.inf)
_RANGES: dict[str, tuple[float, float]] = {
    "train_images": _COUNT,
    "epochs": _COUNT,
    "batch": _COUNT,
    "learning_rate": (0.0, 10.0),
    "weight_decay": (0.0, 10.0),
    "warmup_epochs": (0.0, math.inf),
    "layer_decay": (1e-3, 1.0),
    "label_smoothing": (0.0, 0.9),
    "crop_scale": (0.01, 1.0),
    "mirror": _SHARE,
    "mixup": (0.0, 100.0),
    "cutmix": (0.0, 100.0),
    "ema_decay": _SHARE,
    "freeze": (0, math.inf),
    "clip": (1e-6, math.inf),
    "accumulate": _COUNT,
    "alpha": _SHARE,
    "temperature": (1e-2, 1e3),
    "loaders": (0, 256),
    "threads": _COUNT,
    "seed": (0, math.inf),
}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class TeacherSpec:
    """Which model teaches.

    Attributes:
        model: A built-in model, or the name of any timm classifier.
        checkpoint: Its weights file, with ``:ENTRY`` for one of several sets of weights in it.
        pretrained: Whether to take timm's weights, or those that a built-in model comes with.
    """

    model: str
    checkpoint: str | None = None
    pretrained: bool = False

    def check(self) -> None:
        """Refuses a teacher without weights, or with two kinds of them; raises UserError."""
        if self.checkpoint is not None and self.pretrained:
            raise UserError("both --teacher-checkpoint and --teacher-pretrained were given; expected one")
        if self.checkpoint is None and not self.pretrained:
            raise UserError(
                f"the teacher {self.model} has no weights: give --teacher-checkpoint FILE, or "
                "--teacher-pretrained for timm's (or those that a built-in model comes with)"
            )


@dataclass(frozen=True)
class TrainingSpec:
    """What is trained on what, how, and whom it learns from.

    Attributes:
        evaluation: Model, weights that it begins with, data, splits that are kept out of the training (its
            seed draws them), preprocessing, task, metrics and device, as a search of the trained model has
            them.
        recipe: How it is trained.
        teacher: Whom it learns from; None to learn from labels alone.
    """

    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    recipe: TrainingRecipe = field(default_factory=TrainingRecipe)
    teacher: TeacherSpec | None = None

    def check(self) -> None:
        """Refuses what cannot be trained, before anything is loaded; raises :class:`UserError`."""
        dataclasses.replace(self.evaluation, scheme=FQ_VIT).check()  # of which nothing is trained
        self.recipe.check()
        if self.teacher is not None:
            self.teacher.check()

    def at_absolute_places(self) -> TrainingSpec:
        """The same with files by absolute paths, so that it can be resumed in any folder."""
        teacher = self.teacher
        if teacher is not None and teacher.checkpoint is not None:
            place = absolute_place("checkpoint", Path(teacher.checkpoint))
            teacher = dataclasses.replace(teacher, checkpoint=place)
        return dataclasses.replace(self, evaluation=self.evaluation.at_absolute_places(), teacher=teacher)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "evaluation": self.evaluation.to_json(),
            "recipe": dataclasses.asdict(self.recipe),
            "teacher": None if self.teacher is None else dataclasses.asdict(self.teacher),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingSpec:
        """The inverse of :meth:`to_json`; KeyError or TypeError where it is none."""
        teacher = document["teacher"]
        return cls(
            EvaluationSpec.from_json(document["evaluation"]),
            TrainingRecipe.from_json(document["recipe"]),
            None if teacher is None else TeacherSpec(**teacher),
        )
