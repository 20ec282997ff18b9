"""Final figures of a front: the test split, and points that fail there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from additive_runtime import FLOAT_MS, AdditiveRuntime, clock, encoder_ms

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency import measured
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.tables import FinalMeasurement
from bitfront.search.session.final_measurements import final_measurements, held_out_qualities, whole_latencies
from bitfront.spaces import BitfrontError


class Context:
    """Scores by formula; ``faulty`` digests end in an error."""

    def __init__(self, score, faulty):
        self._score, self._faulty = score, faulty

    task = task_named("classification")

    def quality(self, config, split):
        assert split == "test"
        if config.digest == self._faulty:
            raise BitfrontError("blocks.1.mlp.gelu: infinite")
        return replace(self._score(config), lost=5, won=2)


def test_a_point_that_fails_on_the_test_split_is_told_and_the_others_are_measured(synthetic, folder):
    result = synthetic.search(folder, RunSpec(evaluations=32, population=16))
    faulty, *others = result.front
    shares: list[float] = []
    context = Context(synthetic.score, faulty.digest)
    top1 = context.task.metric("top1")
    found, failures = held_out_qualities(context, result.problem.space, result.front, top1, shares.append)
    assert failures == {faulty.number: "blocks.1.mlp.gelu: infinite"}
    assert list(found) == [trial.number for trial in others]
    assert shares[-1] == 1.0
    finals = final_measurements(found, {trial.number: 3.5 for trial in result.front})
    assert finals[faulty.number] == FinalMeasurement(3.5)
    for trial in others:
        values = finals[trial.number].values()
        assert values["test_top1"] == pytest.approx(trial.values["top1"])
        assert (values["latency_measured_ms"], values["test_lost"], values["test_won"]) == (3.5, 5, 2)
    assert final_measurements(found, {})[others[0].number].latency_measured_ms is None


def test_whole_models_are_timed_in_the_given_runtime(synthetic, folder, monkeypatch):
    monkeypatch.setattr(measured, "time_interleaved", clock)
    result = synthetic.search(folder, RunSpec(evaluations=32, population=16))
    space = result.problem.space
    context = SimpleNamespace(
        spec=EvaluationSpec(model=space.model, scheme=space.scheme), encoders=space.encoders,
        prepared=None, model=SimpleNamespace(module=None),
    )  # fmt: skip
    times, float_ms, eight_bit_ms, noise = whole_latencies(
        context, AdditiveRuntime(), space, result.front, 2, lambda _: None
    )
    assert float_ms == 2 * FLOAT_MS
    assert 0.0 < noise < 0.01
    assert eight_bit_ms == pytest.approx(2 * (3.0 + len(space.encoders) * 2.8))
    assert list(times) == [trial.number for trial in result.front]
    for trial in result.front:
        encoders = space.decode(np.array(trial.genome)).encoders
        assert times[trial.number] == pytest.approx(2 * (3.0 + sum(map(encoder_ms, encoders))))
