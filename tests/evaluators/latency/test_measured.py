"""Measured tables and whole models: what is timed, and which precisions share a measurement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from additive_runtime import AdditiveRuntime, clock

from bitfront.evaluators.context.machine import cpu_name, is_this_machine
from bitfront.evaluators.latency import measured
from bitfront.evaluators.latency.measured import measure_models, measure_table, measure_with_models
from bitfront.evaluators.latency.table import Latency, TableLatency, timed_encoders
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRun, TimingProtocol
from bitfront.evaluators.latency.torch_runtime import TorchRuntime
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, SearchSpace, triples

QUICK = TimingProtocol(warmup=1, iterations=1, repeats=2, fewest=1)
SHAPE = "17x32h2m128"
TRIPLES = set(itertools.product((4, 8), repeat=3))


class Stopwatch:
    """Stands in for the timing: runs every run once and gives each a time of its own."""

    def __init__(self) -> None:
        self.results: dict[Hashable, object] = {}
        self.budgets: list[float] = []

    def __call__(
        self, runs: Mapping[Hashable, TimedRun], protocol: TimingProtocol | None, *_: object
    ) -> dict[Hashable, Latency]:
        self.results = {name: run() for name, run in runs.items()}
        self.budgets.append((protocol or TimingProtocol()).budget_seconds)
        return {name: Latency(float(place)) for place, name in enumerate(runs, start=1)}


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    found = Stopwatch()
    monkeypatch.setattr(measured, "time_interleaved", found)
    return found


@pytest.fixture
def subject(prepared: PreparedModel, module: torch.nn.Module) -> Subject:
    return Subject(prepared, module)


def test_a_real_table_has_every_precision(subject: Subject) -> None:
    shares: list[float] = []
    table = measure_table(TorchRuntime(), subject, 3, QUICK, shares.append)
    assert set(table.encoders) == {(SHAPE, triple) for triple in TRIPLES}
    assert (table.batch, table.source, table.scheme) == (3, "measured:torch", "fq-vit")
    assert table.machine == cpu_name()
    every = [*table.encoders.values(), table.rest, table.float_model]
    assert all(entry.milliseconds > 0 for entry in every)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_equal_programs_share_a_measurement(subject: Subject, stopwatch: Stopwatch) -> None:
    table = measure_table(TorchRuntime(), subject, 2)
    # Weights of all widths run the same kernels; logarithmic attention and clipped activations differ.
    groups: dict[float, set[tuple[bool, bool]]] = {}
    for (_, (_, activations, attention)), entry in table.encoders.items():
        groups.setdefault(entry.milliseconds, set()).add((activations == 4, attention == 4))
    assert sorted(map(len, groups.values())) == [1, 1, 1, 1]
    # Those, the rest, the float model and one whole model.
    assert len(stopwatch.results) == 7


def test_runs_do_the_models_work(subject: Subject, stopwatch: Stopwatch) -> None:
    measure_table(TorchRuntime(), subject, 2)
    results = stopwatch.results.values()
    logits = [result for result in results if isinstance(result, torch.Tensor)]
    encoders = [result for result in results if isinstance(result, tuple)]
    assert [result.shape for result in logits] == [(2, 7), (2, 7), (2, 7)]
    assert [[part.shape for part in result] for result in encoders] == [[(34, 32), (34, 32)]] * 4
    assert all(part.dtype == torch.uint8 for result in encoders for part in result)


def test_streams_are_those_of_the_batch_and_model(subject: Subject) -> None:
    runtime = TorchRuntime()
    for batch in (2, 3, 2):
        stream, codes = runtime.encoder(subject, 1, (8, 8, 8), batch)()  # type: ignore[misc]
        assert len(stream) == len(codes) == 17 * batch
    other = replace(subject)
    assert runtime.encoder(other, 0, (8, 8, 8), 2)() is not None


def test_parts_and_whole_models_are_timed_together(
    subject: Subject, blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "time_interleaved", clock)
    configs = [subject.uniform((4, 4, 4)), subject.widest, subject.uniform((4, 8, 8))]
    table, wholes = measure_with_models(AdditiveRuntime(), subject, configs, 5)
    assert (table.source, table.machine, table.scheme) == ("measured:abacus", "beads", "fq-vit")
    assert (table.rest.milliseconds, table.float_model.milliseconds) == (15.0, 450.0)
    latency = TableLatency(table, timed_encoders(blueprint), triples((4, 8)))
    sums = [latency.latency_ms(config) for config in configs]
    assert sums == pytest.approx([entry.milliseconds for entry in wholes])


def test_what_a_whole_model_takes_longer_is_in_the_rest(
    subject: Subject, blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "time_interleaved", clock)
    runtime = AdditiveRuntime()
    runtime.between_ms = 0.5
    table, (whole, narrow) = measure_with_models(
        runtime, subject, [subject.widest, subject.uniform((4, 4, 4))], 1
    )
    assert table.rest.milliseconds == pytest.approx(3.5)
    latency = TableLatency(table, timed_encoders(blueprint), triples((4, 8)))
    assert latency.latency_ms(subject.widest) == pytest.approx(whole.milliseconds)
    assert latency.latency_ms(subject.uniform((4, 4, 4))) == pytest.approx(narrow.milliseconds)
    runtime.between_ms = -0.5
    assert measure_table(runtime, subject, 1).rest.milliseconds == pytest.approx(3.0)


def test_whole_models_are_timed_in_order(
    subject: Subject, uniform: Callable[..., BitConfig], blueprint: Blueprint, stopwatch: Stopwatch
) -> None:
    configs = [uniform(blueprint, bits) for bits in ((8, 8, 8), (4, 4, 4))]
    float_model, entries = measure_models(TorchRuntime(), subject, configs, 5)
    assert float_model == Latency(1.0)
    assert entries == [Latency(2.0), Latency(3.0)]
    exact, wide, narrow = stopwatch.results.values()
    # All saw the same images: eight bits follow the float model closely, four bits do not.
    assert exact.shape == wide.shape == narrow.shape == (5, 7)  # type: ignore[attr-defined]
    assert (wide - exact).norm() < 0.5 * (narrow - exact).norm()  # type: ignore[operator]


def test_models_that_memory_cannot_hold_take_turns(subject: Subject, stopwatch: Stopwatch) -> None:
    configs = [subject.uniform(bits) for bits in triples((4, 8))[:5]]
    shares: list[float] = []
    protocol = TimingProtocol(budget_seconds=9.0)
    float_model, entries = measure_models(AdditiveRuntime(), subject, configs, 1, protocol, shares.append)
    # Groups of two, two and one, each with the float model in front.
    assert [entry.milliseconds for entry in entries] == [2.0, 3.0, 2.0, 3.0, 2.0]
    assert float_model.milliseconds == 1.0
    assert stopwatch.budgets == [3.0, 3.0, 3.0]


def test_torch_runs_on_as_many_threads_and_leaves_them_as_they_were(subject: Subject) -> None:
    seen: list[int] = []
    before = torch.get_num_threads()

    def forward(images: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return images

    for threads in (2, 3):
        TorchRuntime(threads).float_model(replace(subject, module=forward), 1)()  # type: ignore[arg-type]
    assert (seen, torch.get_num_threads()) == ([2, 3], before)


def test_points_of_several_groups_are_compared_by_the_float_model(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = iter((1.0, 3.0, 1.0))

    def slower_and_slower(runs: Mapping[Hashable, TimedRun], *_: object) -> dict[Hashable, Latency]:
        pace = next(paces)
        return {name: Latency(pace * entry.milliseconds) for name, entry in clock(runs).items()}

    monkeypatch.setattr(measured, "time_interleaved", slower_and_slower)
    configs = [subject.uniform(bits) for bits in triples((4, 8))[:5]]
    float_model, entries = measure_models(AdditiveRuntime(), subject, configs, 1)
    assert float_model.milliseconds == 90.0
    expected = [clock({0: AdditiveRuntime().model(subject, config, 1)})[0] for config in configs]
    assert [e.milliseconds for e in entries] == pytest.approx([e.milliseconds for e in expected])


def test_this_machine_is_known_by_name() -> None:
    assert is_this_machine(cpu_name())
    assert not is_this_machine("Pixel 8")


def test_whole_models_of_equal_programs_share_a_time(subject: Subject, stopwatch: Stopwatch) -> None:
    space = SearchSpace("small", "fq-vit", subject.prepared.blueprint.encoder_layers(), (4, 8), "layer")
    genomes = space.sample(np.random.default_rng(0), 12)
    narrow = np.array(["weights" in name for name in space.gene_names])
    weights_alone = [space.decode(np.where(narrow, genome, 1)) for genome in genomes[:6]]
    others = [space.decode(genome) for genome in genomes[6:]]
    mixed = [config for pair in zip(weights_alone, others, strict=True) for config in pair]
    _, entries = measure_models(TorchRuntime(), subject, mixed, 1)
    # The float model, three that differ by their weights alone, and each of the others.
    assert len(stopwatch.results) == 1 + 3 + 6
    assert {entry.milliseconds for entry in entries[::2]} == {3.0}
    assert len({entry.milliseconds for entry in entries[1::2]}) == 6
