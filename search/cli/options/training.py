"""Options of a training that several commands have: the recipe and the teacher."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.training.recipe import AUTO, PRECISIONS, SCHEDULES, TrainingRecipe
from bitfront.search.cli.options.common import Group, natural, option, positive
from bitfront.search.cli.options.groups import add_device_option

_DEFAULT = TrainingRecipe()


def add_recipe_options(group: Group) -> None:
    """How a model is trained."""
    option(group, "--train-images N", "use only so many images, of each class in proportion", positive)
    _number(group, "--batch N", "images of a step", positive)
    suits = "largest learning rate of AdamW (default: 1e-3, or 5e-4 from random weights)"
    option(group, "--learning-rate RATE", suits, float)
    _number(group, "--weight-decay X", "of matrices")
    option(group, "--schedule", "timm's, of the learning rate", default=_DEFAULT.schedule, choices=SCHEDULES)
    _number(group, "--warmup-epochs N", "epochs in which the learning rate rises")
    layers = "what the learning rate is multiplied by from a layer to the one before (default: 0.75, or 1)"
    option(group, "--layer-decay X", layers, float)
    _number(group, "--label-smoothing SHARE", "share of a label that goes to all classes alike")
    varied = (
        "how images are varied: none, light (crops, mirror images) or a policy of timm such as "
        "rand-m9-mstd0.5-inc1 (default: light for small and grey images, else rand-m7-mstd0.5-inc1)"
    )
    option(group, "--augment HOW", varied, default=AUTO)
    cropped = "least share of an image that a crop takes (default: 0.35, or 0.7 of small images)"
    option(group, "--crop-scale SHARE", cropped, float)
    option(group, "--mirror SHARE", "of mirror images (default: 0.5, or 0 of grey ones)", float)
    _number(group, "--mixup ALPHA", "mixes images (Zhang et al. 2018)")
    _number(group, "--cutmix ALPHA", "mixes pieces of images (Yun et al. 2019)")
    _number(group, "--ema-decay B", "of the moving average of the weights; 0 for none")
    option(group, "--ema-warmup", "let the average forget its start sooner, as timm does: for few steps")
    _number(group, "--freeze N", "first encoders that stay as they are, with the embedding", natural)
    _number(group, "--clip NORM", "largest norm of the gradient")
    _number(group, "--accumulate N", "parts that a batch is computed in, for less memory", positive)
    precise = "of products: bf16 is autocast; auto measures which is quicker"
    option(group, "--precision", precise, default=_DEFAULT.precision, choices=PRECISIONS)
    _number(group, "--loaders N", "processes that load images", natural)
    add_device_option(group, "what trains")


def add_teacher_options(group: Group) -> None:
    """Whom it learns from."""
    option(group, "--teacher NAME", "a timm classifier or built-in model of the same classes to learn from")
    option(group, "--teacher-checkpoint FILE", "its weights file, or FILE:ENTRY")
    option(group, "--teacher-pretrained", "take timm's weights for it, or those that a built-in model has")
    _number(group, "--alpha SHARE", "weight of the teacher in the loss; the labels have the rest")
    _number(group, "--temperature T", "what logits are divided by to learn from the teacher")


def _number(group: Group, words: str, meaning: str, kind: Any = float) -> None:
    """An option of the recipe with its default."""
    name = words.split(" ")[0].removeprefix("--").replace("-", "_")
    option(group, words, f"{meaning} (default: {getattr(_DEFAULT, name):g})", kind, getattr(_DEFAULT, name))
