"""Whether a float model tells the classes of images at all, and if not, why: a shift, an order, a head.

Classes, not images, are drawn by lot where a head is random: it may be right on a class or two by luck, so
that no test over images finds it. Another order of the classes that does far better counts as well; it is
fitted on one half of the images and judged on the other, both ways round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.data.class_map import NATURAL, PLAIN, natural_key
from bitfront.evaluators.tasks.evidence import Evidence, ManyLabels, Numbers, OneClass, Order, halves
from bitfront.evaluators.tasks.task import Task

if TYPE_CHECKING:
    import torch

# Another order does better where as uneven a split of images would come about less often than this, ...
LEVEL = 1e-4
# (than this where two orders are known beforehand: that is one trial, not the best of many)
ORDER_LEVEL = 1e-3
# ... its sum of scores is so many times that of the labels as they are, ...
TIMES = 2.0
# ... and this share of what outputs allow at all: what is below is a likeness, such as a random head has.
EXPLAINED = 0.9
# Images of each class below which a fitted order says little.
IMAGES_PER_CLASS = 4
# Classes that a message names.
SHOWN = 3


@dataclass(frozen=True)
class Verdict:
    """What a float model's outputs say of the labels.

    Attributes:
        guess: Share of images that a guess decides right, in percent; None for many labels to an image.
        enough: Whether the images are enough to tell a model from a guess.
        fault: What is wrong and how to mend it; None where nothing is found to be.
    """

    guess: float | None
    enough: bool
    fault: str | None


def judge_float(
    task: Task, values: torch.Tensor, labels: torch.Tensor, class_names: Sequence[str] | None = None
) -> Verdict:
    """Whether outputs of a float model say anything of the labels, and if not, why.

    Args:
        task: What the model is judged by.
        values: Logits, finite, ``[images, classes]``.
        labels: int64 ``[images]``, or 0 and 1 ``[images, labels]``; every half has its classes in proportion.
        class_names: In the order of the labels, where the data know them.
    """
    outputs, given = values.double().cpu().numpy(), labels.cpu().numpy()
    evidence: Evidence
    if task.multiple:
        evidence, count = ManyLabels(outputs, given), given.shape[1]
    else:
        decisions = task.arithmetic.decisions(values).cpu().numpy()
        evidence, count = OneClass(outputs, decisions, given), int(given.max()) + 1
    names = tuple(class_names or ())
    fault = _fault(evidence, names, len(names) or count)
    return Verdict(evidence.guess(), evidence.enough(), fault)


def clearly_better(task: Task, values: torch.Tensor, labels: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether one reading of labels fits a float model clearly better than another one, and well.

    Args:
        task: What the model is judged by, of one class to an image.
        values: Logits, finite, ``[images, classes]``, of images that have other labels in both readings.
        labels: Those of the one reading, int64 ``[images]``.
        others: Those of the other.
    """
    outputs, decisions = values.double().cpu().numpy(), task.arithmetic.decisions(values).cpu().numpy()
    evidence, other = (OneClass(outputs, decisions, given.cpu().numpy()) for given in (labels, others))
    own = np.arange(evidence.classes)
    scores = evidence.scores(own)
    if not _far_better(scores, other.scores(own), ORDER_LEVEL):
        return False
    return bool(scores.sum() >= EXPLAINED * max(evidence.told(), float(_fitted(evidence).sum())))


def _fault(evidence: Evidence, names: Sequence[str], count: int) -> str | None:
    """What is wrong with outputs of data with so many classes, if something is."""
    as_given, fitted = evidence.scores(np.arange(evidence.classes)), _fitted(evidence)
    told = EXPLAINED * max(evidence.told(), float(fitted.sum()))
    found = evidence.words(as_given)
    columns = isinstance(evidence, ManyLabels)
    for order, cause in _known_orders(evidence.classes, names, columns):
        scores = evidence.scores(order)
        if _far_better(scores, as_given) and scores.sum() >= told:
            return f"{found}, but {evidence.words(scores)} {cause}"
    if _far_better(fitted, as_given):
        if fitted.sum() >= told:
            return f"{found}, but {evidence.words(fitted)} {_other_order(evidence, names, count)}"
        return f"{found}, and {evidence.words(fitted)} in the order of classes that fits best: {_FOREIGN}"
    if not evidence.enough() or evidence.better_than_guess():
        return None
    seen = len(evidence.gains(slice(None))[0])
    if evidence.images < IMAGES_PER_CLASS * seen:
        return (
            f"{found}, which is a guess, and labels shifted by one fit no better: either the classes are in "
            f"another order, for which {evidence.images} images of {seen} classes are too few to be tried "
            f"(give more --calibration-images), or {_FOREIGN}"
        )
    tried = "neither labels shifted by one nor another order of the classes fit better"
    return f"{found}, which is a guess, and {tried}: {_FOREIGN}"


_FOREIGN = "the head is untrained or of another data set: give a checkpoint that was trained on these classes"


def _far_better(scores: Numbers, as_given: Numbers, level: float = LEVEL) -> bool:
    """Whether an order fits far better than the labels as they are: by the sign test, and by how much."""
    from scipy.stats import binom

    won, lost = int((scores > as_given).sum()), int((scores < as_given).sum())
    by_chance = float(binom.sf(won - 1, won + lost, 0.5)) if won else 1.0
    return by_chance <= level and bool(scores.sum() >= TIMES * max(0.0, float(as_given.sum())))


_LESS = "count them from 0 as the model does"
_GREATER = (
    "the model has a class before the first one of the data: add 1 to them, or give a checkpoint without it"
)
_COLUMNS = "give their columns in the order of the model's outputs"


def _known_orders(classes: int, names: Sequence[str], columns: bool) -> list[tuple[Order, str]]:
    """Orders that come about by known mistakes, each with what it is and how to mend it.

    Args:
        classes: Outputs of the model.
        names: Of the classes, where they are known.
        columns: Whether labels are columns of their own, which nothing sorts.
    """
    own = np.arange(classes)
    less, greater = (_COLUMNS, _COLUMNS) if columns else (_LESS, _GREATER)
    found = [
        (own - 1, f"with every label less by one: the labels are shifted; {less}"),
        (np.append(own[1:], -1), f"with every label greater by one: the labels are shifted; {greater}"),
    ]
    for key, how, mend in () if columns else _SORTED if names else _NUMBERED:
        listed = list(names) or [str(label) for label in own]
        if len(listed) <= classes:
            order = np.full(classes, -1)
            order[sorted(range(len(listed)), key=lambda label: key(listed[label]))] = np.arange(len(listed))
            cause = f"with the classes in the {how}: the data have another order; {mend}"
            found.append((order, cause))
    return [(order, cause) for order, cause in found if bool((order != own).any())]


_RENAME = "rename the folders so that sorting gives that order, or give a --class-map"
_ORDER = "give --class-order {}, or labels in that order where these are no class folders"
_Kept = tuple[Callable[[str], Any], str, str]
_SORTED: tuple[_Kept, ...] = (
    (natural_key, "natural order of their names (2 before 10, without case)", _ORDER.format(NATURAL)),
    (str, "plain order of their names (10 before 2, capitals first)", _ORDER.format(PLAIN)),
    (str.casefold, "order of their names without capitals", _RENAME),
)
_NUMBERED: tuple[_Kept, ...] = (
    (str, "plain order of their numbers (10 before 2), as folders are sorted", "renumber the labels so"),
)


def _assigned(evidence: Evidence, rows: slice) -> Order:
    """The order that fits some of the images best; classes without any keep their place where it is free."""
    from scipy.optimize import linear_sum_assignment

    seen, gains = evidence.gains(rows)
    gains[np.arange(len(seen)), seen] += 1e-6 * max(1.0, float(np.abs(gains).max()))
    order = np.arange(evidence.classes)
    order[seen] = linear_sum_assignment(gains, maximize=True)[1]
    return order


def _fitted(evidence: Evidence) -> Numbers:
    """Scores with orders that were fitted on the other half of the images."""
    found = np.zeros(evidence.images)
    for fitted, rest in halves(evidence.images):
        found[rest] = evidence.scores(_assigned(evidence, fitted))[rest]
    return found


def _other_order(evidence: Evidence, names: Sequence[str], count: int) -> str:
    """What an order that was fitted is, and how to mend it."""
    order = _assigned(evidence, slice(None))
    moved = np.flatnonzero(order != np.arange(len(order)))
    named = [repr(names[label]) if label < len(names) else str(label) for label in moved[:SHOWN]]
    pairs = [f"class {name} is output {order[label]}" for name, label in zip(named, moved, strict=False)]
    shown = ", ".join(pairs + ["..."] * (len(moved) > SHOWN))
    if bool((order[moved] >= count).any()):
        return (
            f"read as other outputs ({shown}): the head is of another data set; give a --class-map, its "
            "numbers as labels in a labels.csv, or a checkpoint that was trained on these classes"
        )
    return f"with the classes in another order ({shown}): give labels in the order of the model's outputs"
