"""Measured tables: what is timed, and which precisions share a measurement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest
import torch

from bitfront.evaluators.latency import latency_source, measured
from bitfront.evaluators.latency.measured import measure_models, measure_table
from bitfront.evaluators.latency.table import Entry
from bitfront.evaluators.latency.timing import Contestant, TimingProtocol
from bitfront.evaluators.quantized import PreparedModel
from bitfront.spaces import BitConfig

QUICK = TimingProtocol(warmup=1, iterations=1, repeats=2, fewest=1)
SHAPE = "17x32h2m128"
TRIPLES = set(itertools.product((4, 8), repeat=3))


class Stopwatch:
    """Stands in for the timing: runs every contestant once and gives each a time of its own."""

    def __init__(self) -> None:
        self.results: dict[str, object] = {}

    def __call__(self, contestants: Mapping[str, Contestant], *_: object) -> dict[str, Entry]:
        self.results = {name: run() for name, run in contestants.items()}
        return {name: Entry(float(place)) for place, name in enumerate(contestants, start=1)}


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    found = Stopwatch()
    monkeypatch.setattr(measured, "time_interleaved", found)
    return found


def test_a_real_table_has_every_precision(prepared: PreparedModel, module: torch.nn.Module) -> None:
    shares: list[float] = []
    table = measure_table(prepared, module, 3, QUICK, shares.append)
    assert set(table.encoders) == {(SHAPE, triple) for triple in TRIPLES}
    assert (table.batch, table.source) == (3, "measured:torch")
    every = [*table.encoders.values(), table.rest, table.float_model]
    assert all(entry.milliseconds > 0 for entry in every)
    assert shares == [0.5, 1.0]


def test_equal_programs_share_a_measurement(
    prepared: PreparedModel, module: torch.nn.Module, stopwatch: Stopwatch
) -> None:
    table = measure_table(prepared, module, 2)
    # Weights of all widths run the same kernels; logarithmic attention and clipped activations differ.
    groups: dict[float, set[tuple[bool, bool]]] = {}
    for (_, (_, activations, attention)), entry in table.encoders.items():
        groups.setdefault(entry.milliseconds, set()).add((activations == 4, attention == 4))
    assert sorted(map(len, groups.values())) == [1, 1, 1, 1]
    times = {*groups, table.rest.milliseconds, table.float_model.milliseconds}
    assert len(times) == len(stopwatch.results) == 6


def test_contestants_do_the_models_work(
    prepared: PreparedModel, module: torch.nn.Module, stopwatch: Stopwatch
) -> None:
    measure_table(prepared, module, 2)
    results = stopwatch.results.values()
    logits = [result for result in results if isinstance(result, torch.Tensor)]
    encoders = [result for result in results if isinstance(result, tuple)]
    assert [result.shape for result in logits] == [(2, 7), (2, 7)]
    assert [[part.shape for part in result] for result in encoders] == [[(34, 32), (34, 32)]] * 4
    assert all(part.dtype == torch.uint8 for result in encoders for part in result)


def test_the_source_by_name(prepared: PreparedModel, module: torch.nn.Module, stopwatch: Stopwatch) -> None:
    for name in ("measured", "measured:torch"):
        table = latency_source(name).table(prepared, module, batch=4)
        assert (table.source, table.batch) == ("measured:torch", 4)


def test_whole_models_are_timed_in_order(
    prepared: PreparedModel,
    module: torch.nn.Module,
    blueprint: object,
    uniform: Callable[..., BitConfig],
    stopwatch: Stopwatch,
) -> None:
    configs = [uniform(blueprint, bits) for bits in ((8, 8, 8), (4, 4, 4))]
    float_model, entries = measure_models(prepared, module, configs, 5)
    assert float_model == Entry(1.0)
    assert entries == [Entry(2.0), Entry(3.0)]
    exact, wide, narrow = stopwatch.results.values()
    # All saw the same images: eight bits follow the float model closely, four bits do not.
    assert exact.shape == wide.shape == narrow.shape == (5, 7)  # type: ignore[attr-defined]
    assert (wide - exact).norm() < 0.5 * (narrow - exact).norm()  # type: ignore[operator]
