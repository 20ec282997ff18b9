"""The tasks by name, with the metrics that other packages add; loads neither numpy nor torch."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pkgutil
import re
from collections.abc import Sequence

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import UserError
from bitfront.spaces.plugins import Plugin, plugins

logger = logging.getLogger(__name__)

CLASSIFICATION = "classification"
# Where each is: tasks are loaded when they are asked for.
TASKS = {
    CLASSIFICATION: "bitfront.evaluators.tasks.classification.task:CLASSIFICATION",
    "multilabel": "bitfront.evaluators.tasks.multilabel.task:MULTILABEL",
}
# Of what no model classifies; a search alone knows of these.
GENERATION = "generation"
OTHER_TASKS = {GENERATION: "bitfront.evaluators.tasks.generation.task:GENERATION"}
# Entry points of other packages: a task; a metric, named by its task and itself, as ``classification.kappa``.
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Columns, keys and options of another meaning, and what stands before names of metrics and of columns.
_TAKEN = frozenset(
    {
        "latency",
        "size",
        "energy",
        "knee",
        "images",
        "lost",
        "won",
        "seconds",
        "name",
        "trial",
        "digest",
        "state",
    }
)
_SIDES = ("test_", "fp32_", "evaluator_", "latency_", "size_", "energy_", "violation")
TASK_PLUGINS, METRIC_PLUGINS = "bitfront.tasks", "bitfront.metrics"


def task_names() -> tuple[str, ...]:
    """Names of all tasks, those of other packages behind the own ones."""
    return tuple(dict.fromkeys((*TASKS, *plugins(TASK_PLUGINS))))


@functools.cache
def task_named(name: str) -> Task:
    """The task of that name, with the metrics that other packages add to it.

    Raises:
        UserError: There is none, or it is of another package that is broken (it is named).
    """
    found = plugins(TASK_PLUGINS)
    own = {**TASKS, **OTHER_TASKS}
    if name in own:
        task: Task = pkgutil.resolve_name(own[name])
    elif name in found:
        task = found[name].load(Task)
    else:
        raise UserError(f"unknown task {name!r}: choose one of {', '.join(task_names())}")
    added: list[Metric] = []
    for key, plugin in sorted(_added_to(name).items()):
        try:
            metric = plugin.load(Metric)
            _check_added(metric, key, [*task.metrics, *added])
        except (
            UserError
        ) as error:  # what works without it goes on; whoever asks for it is told that it is unknown
            logger.warning("%s", error)
        else:
            added.append(metric)
    return dataclasses.replace(task, metrics=(*task.metrics, *added))


def metric_names(task: str) -> tuple[str, ...]:
    """Names of all metrics of a task as they are written in options; imports no other package."""
    own: tuple[Metric, ...] = pkgutil.resolve_name(TASKS[task]).metrics if task in TASKS else ()
    return (*(metric.usage for metric in own), *(key.partition(".")[2] for key in sorted(_added_to(task))))


def _added_to(task: str) -> dict[str, Plugin]:
    """What other packages add to a task, by their entry points' names."""
    return {key: plugin for key, plugin in plugins(METRIC_PLUGINS).items() if key.split(".")[0] == task}


def _check_added(metric: Metric, key: str, known: Sequence[Metric]) -> None:
    """Refuses names that columns, documents and options could not tell apart."""
    if not _NAME.fullmatch(metric.name) or metric.name in _TAKEN or metric.name.startswith(_SIDES):
        raise UserError(
            f"{METRIC_PLUGINS} {key!r} adds a metric {metric.name!r}: expected a name of small letters, "
            "digits and underscores that is not used otherwise"
        )
    if metric.name in {other.name for other in known}:
        raise UserError(f"{METRIC_PLUGINS} {key!r} adds a metric {metric.name} that is there already")
