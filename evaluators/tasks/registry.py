"""The tasks by name, with the metrics that other packages add; loads neither numpy nor torch."""

from __future__ import annotations

import dataclasses
import functools
import pkgutil

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import UserError
from bitfront.spaces.plugins import plugins

CLASSIFICATION = "classification"
# Where each is: tasks are loaded when they are asked for.
TASKS = {
    CLASSIFICATION: "bitfront.evaluators.tasks.classification.task:CLASSIFICATION",
    "multilabel": "bitfront.evaluators.tasks.multilabel.task:MULTILABEL",
}
# Entry points of other packages: a task; a metric or several, whose names begin with that of their task, as
# in ``classification.kappa``.
TASK_PLUGINS, METRIC_PLUGINS = "bitfront.tasks", "bitfront.metrics"


def task_names() -> tuple[str, ...]:
    """Names of all tasks, those of other packages behind the own ones."""
    return tuple(dict.fromkeys((*TASKS, *plugins(TASK_PLUGINS))))


@functools.cache
def task_named(name: str) -> Task:
    """The task of that name, with the metrics that other packages add to it.

    Raises:
        UserError: There is none, or a package that adds to it is broken (it is named).
    """
    found = plugins(TASK_PLUGINS)
    if name in TASKS:
        task: Task = pkgutil.resolve_name(TASKS[name])
    elif name in found:
        task = found[name].load(Task)
    else:
        raise UserError(f"unknown task {name!r}: choose one of {', '.join(task_names())}")
    added = tuple(
        plugin.load(Metric)
        for key, plugin in sorted(plugins(METRIC_PLUGINS).items())
        if key.split(".")[0] == name
    )
    known = {metric.name for metric in task.metrics}
    twice = [metric.name for metric in added if metric.name in known]
    if twice:
        raise UserError(f"task {name} has a metric {twice[0]} already: another package must not add it")
    return dataclasses.replace(task, metrics=(*task.metrics, *added))
