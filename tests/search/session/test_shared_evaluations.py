"""A second search of the same settings makes no evaluation, and finds the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from quick_spec import QUICK

from bitfront.evaluators.context.kept_evaluations import are_shared
from bitfront.search import RunSpec, search
from bitfront.search.cli.main import main
from bitfront.search.session.worker_pool import WorkerOptions

SPEC = RunSpec(
    dataclasses.replace(QUICK, search_images=32, test_images=16),
    latency="model:bops",
    evaluations=4,
    population=2,
    sampler="nsga2",
)
# Of the machine, measured each time.
_TIMED = "latency_measured_ms"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_a_second_search_of_the_same_settings_makes_no_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITFRONT_EVALUATIONS", "on")
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "cache"))

    def searched(name: str, spec: RunSpec = SPEC, evaluate_all: bool = False) -> tuple[int, object]:
        options = WorkerOptions(0, evaluate_all=evaluate_all)
        run = search(spec, name=name, runs_dir=tmp_path, workers=options)
        return run.summary["known_evaluations"], run.trials.drop(columns=_TIMED).to_csv()

    known, first = searched("first")
    assert known == 0
    assert searched("again") == (4, first)
    assert searched("alone", evaluate_all=True) == (0, first)
    other = dataclasses.replace(SPEC, evaluation=dataclasses.replace(SPEC.evaluation, seed=1))
    assert searched("other", other)[0] == 0


def test_a_cluster_rounds_as_it_likes_and_shares_nothing() -> None:
    assert WorkerOptions(2).share_evaluations
    assert not WorkerOptions(2, evaluate_all=True).share_evaluations
    assert not WorkerOptions(cluster="tcp://127.0.0.1:8786").share_evaluations


@pytest.mark.parametrize(
    ("environment", "shared"),
    [
        ({"BITFRONT_CACHE": "/tmp/x"}, True),
        ({"BITFRONT_CACHE": "off"}, False),
        ({"BITFRONT_CACHE": "/tmp/x", "BITFRONT_EVALUATIONS": "off"}, False),
    ],
)
def test_the_environment_decides(environment: dict[str, str], shared: bool) -> None:
    assert are_shared(environment) == shared


def test_the_option_is_of_searches(capsys: pytest.CaptureFixture[str]) -> None:
    main(["search", "--help"])
    assert "--evaluate-all" in capsys.readouterr().out
