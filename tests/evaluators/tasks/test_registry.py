"""Tasks and metrics by name, and those of other packages."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from bitfront.evaluators.tasks import registry
from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.registry import task_named, task_names
from bitfront.spaces import UserError
from bitfront.spaces.plugins import Plugin

KAPPA = Metric("kappa", "Cohen's kappa", "maximise", "", 1.0, lambda _: 0.0, lambda outputs: 0.5)


def test_names_are_listed_without_numpy_and_torch() -> None:
    code = (
        "import sys\n"
        "from bitfront.evaluators.tasks.registry import task_named, task_names\n"
        "[task_named(name).measured() for name in task_names()]\n"
        "print(*({'numpy', 'torch', 'torchmetrics'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not done.stdout.split()


def test_unknown_tasks_and_metrics_are_refused() -> None:
    with pytest.raises(
        UserError, match="unknown task 'regression': choose one of classification, multilabel"
    ):
        task_named("regression")
    task = task_named("classification")
    for text in ("top2", "sensitivity", "macro_f1:cat"):
        with pytest.raises(
            UserError, match=f"unknown metric '{text}' of task classification: choose among top1, "
        ):
            task.metric(text)
    assert task.metric("sensitivity:cat").title == "sensitivity of cat"


@pytest.mark.parametrize("name", task_names())
def test_what_a_task_names_is_there(name: str) -> None:
    task = task_named(name)
    assert len({metric.name for metric in task.metrics}) == len(task.metrics)
    assert {task.primary, task.counted, task.loss, task.distance} <= set(task.always)
    assert task.metric(task.counted).unit == "%"
    assert task.metric(task.distance).relative


def plugged(monkeypatch: pytest.MonkeyPatch, **found: object) -> None:
    class Loaded(Plugin):
        def load(self, kind):
            return found[self.entry.name.replace(".", "_")]

    entries = {
        name.replace("_", ".", 1): Loaded(
            EntryPoint(name.replace("_", ".", 1), "elsewhere", registry.METRIC_PLUGINS)
        )
        for name in found
    }
    monkeypatch.setattr(
        registry, "plugins", lambda group: entries if group == registry.METRIC_PLUGINS else {}
    )
    registry.task_named.cache_clear()


@pytest.fixture(autouse=True)
def _as_installed():
    yield
    registry.task_named.cache_clear()


def test_other_packages_add_metrics(monkeypatch) -> None:
    plugged(monkeypatch, classification_kappa=KAPPA)
    assert task_named("classification").metric("kappa").heading == "Cohen's kappa"
    with pytest.raises(UserError, match="unknown metric 'kappa'"):
        task_named("multilabel").metric("kappa")


def test_a_metric_is_not_replaced(monkeypatch, caplog) -> None:
    own = task_named("classification").metric("top1")
    plugged(monkeypatch, classification_top1=dataclasses.replace(own, title="theirs"))
    assert task_named("classification").metric("top1").title == "top-1"
    assert "adds a metric top1 that is there already" in caplog.text


def test_a_broken_package_is_named() -> None:
    with pytest.raises(
        UserError, match=r"bitfront\.metrics 'classification\.x' of package nowhere cannot be loaded"
    ):
        Plugin(EntryPoint("classification.x", "nowhere:x", "bitfront.metrics")).load(Metric)
    with pytest.raises(UserError, match="is str, not Metric"):
        Plugin(EntryPoint("classification.x", "string:digits", "bitfront.metrics")).load(Metric)


def test_what_other_packages_break_is_told_and_costs_nothing_else(monkeypatch, caplog) -> None:
    broken = Plugin(EntryPoint("classification.x", "nowhere:x", registry.METRIC_PLUGINS))
    taken = Plugin(EntryPoint("classification.size", "elsewhere", registry.METRIC_PLUGINS))
    monkeypatch.setattr(Plugin, "load", lambda self, kind: _loaded(self))
    found = {"classification.size": taken, "classification.x": broken}
    monkeypatch.setattr(registry, "plugins", lambda group: found if group == registry.METRIC_PLUGINS else {})
    registry.task_named.cache_clear()
    assert len(task_named("classification").metrics) == 12
    assert "adds a metric 'size': expected a name of small letters" in caplog.text
    assert "cannot be loaded" in caplog.text
    assert registry.metric_names("classification")[-2:] == ("size", "x"), "names need no import"


def _loaded(plugin: Plugin) -> Metric:
    if plugin.entry.name.endswith("size"):
        return dataclasses.replace(KAPPA, name="size")
    raise UserError(f"{plugin.entry.name} cannot be loaded")
