"""The task of classification: its metrics by name."""

from __future__ import annotations

import math

from bitfront.evaluators.tasks.metric import Direction, Metric
from bitfront.evaluators.tasks.task import Task

_FIGURES = "bitfront.evaluators.tasks.classification.figures"


def _guess(classes: int) -> float:
    """The cross-entropy of a guess, in nats."""
    return math.log(max(2, classes))


def _share(
    name: str,
    title: str,
    per_image: bool = False,
    direction: Direction = "maximise",
    relative: bool = False,
    fitted: bool = False,
    **given: str,
) -> Metric:
    """A share in percent; the box of the hypervolume spans all shares there are."""
    ideal, worst = (100.0, 0.0) if direction == "maximise" else (0.0, 100.0)
    figure = given.pop("figure", name)
    return Metric(
        name=name,
        title=title,
        direction=direction,
        unit="%",
        ideal=ideal,
        worst=lambda _: worst,
        compute=f"{_FIGURES}:{figure}",
        per_image=f"{_FIGURES}:{figure}_per_image" if per_image else None,
        relative=relative,
        fitted=fitted,
        **given,  # type: ignore[arg-type]
    )


def _nats(name: str, title: str, least: float) -> Metric:
    return Metric(
        name=name,
        title=title,
        direction="minimise",
        unit="nats",
        ideal=0.0,
        worst=_guess,
        compute=f"{_FIGURES}:{name}",
        per_image=f"{_FIGURES}:{name}_per_image",
        least=least,
        relative=name == "kl",
        decimals=6,
    )


CLASSIFICATION = Task(
    name="classification",
    title="one class to an image",
    metrics=(
        _share("top1", "top-1", per_image=True),
        _share("top5", "top-5", per_image=True),
        _nats("loss", "loss", 1e-3),
        _nats("kl", "KL to float", 1e-4),
        _share("agreement", "same class as float", per_image=True, relative=True),
        _share("macro_f1", "macro-F1"),
        _share("balanced_accuracy", "balanced accuracy"),
        _share("roc_auc", "ROC-AUC"),
        _share("ece", "calibration error", direction="minimise", figure="calibration_error"),
        _share(
            "ece_tempered",
            "calibration error at a fitted temperature",
            direction="minimise",
            figure="tempered_calibration_error",
            fitted=True,
        ),
        _share("sensitivity", "sensitivity", argument="CLASS"),
        _share("specificity", "specificity", argument="CLASS"),
    ),
    always=("top1", "top5", "loss", "kl", "agreement"),
    primary="top1",
    counted="top1",
    loss="loss",
    distance="kl",
    multiple=False,
    judge=f"{_FIGURES}:JUDGE",
)
