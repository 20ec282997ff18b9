"""The task of multi-label data: its metrics by name."""

from __future__ import annotations

import math

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.task import Task

_FIGURES = "bitfront.evaluators.tasks.multilabel.figures"


def _share(
    name: str, title: str, figure: str = "", per_image: bool = False, relative: bool = False
) -> Metric:
    figure = figure or name
    return Metric(
        name=name,
        title=title,
        direction="maximise",
        unit="%",
        ideal=100.0,
        worst=lambda _: 0.0,
        compute=f"{_FIGURES}:{figure}",
        per_image=f"{_FIGURES}:{figure}_per_image" if per_image else None,
        relative=relative,
    )


def _nats(name: str, title: str, least: float, of_all_labels: bool) -> Metric:
    """Of a guess, each label has ln 2."""
    return Metric(
        name=name,
        title=title,
        direction="minimise",
        unit="nats",
        ideal=0.0,
        worst=lambda labels: math.log(2) * (max(1, labels) if of_all_labels else 1),
        compute=f"{_FIGURES}:{name}",
        per_image=f"{_FIGURES}:{name}_per_image",
        least=least,
        relative=name == "kl",
        decimals=6,
    )


MULTILABEL = Task(
    name="multilabel",
    title="any number of labels to an image",
    metrics=(
        _share("map", "mAP", "mean_average_precision"),
        _share("exact_match", "all labels right", per_image=True),
        _nats("loss", "loss", 1e-3, of_all_labels=False),
        _nats("kl", "KL to float", 1e-4, of_all_labels=True),
        _share("agreement", "same labels as float", per_image=True, relative=True),
        _share("macro_f1", "macro-F1"),
        _share("roc_auc", "ROC-AUC"),
    ),
    always=("map", "exact_match", "loss", "kl", "agreement"),
    primary="map",
    counted="exact_match",
    loss="loss",
    distance="kl",
    multiple=True,
    judge=f"{_FIGURES}:JUDGE",
)
