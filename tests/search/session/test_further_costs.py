"""Costs beside latency and size: asked for, settled, kept in the run folder, part of the problem."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import synthetic_search as synthetic
from quick_spec import QUICK

from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.measured import load_shapes
from bitfront.search import RunSpec, UserError
from bitfront.search.problem.kept_genes import genes_to_keep
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import References
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.tables import TableTexts
from bitfront.search.session.further_costs import FURTHER, asked_costs, further_costs, settled_costs

ENERGY = RunSpec(QUICK, latency="model:bops", energy="model:horowitz45", objectives="top1,energy")  # type: ignore[arg-type]


class Doubled:
    """Twice the size in kilobytes, in the place of energy."""

    source = "made up"
    float_value = 1400.0

    def of(self, config: Any) -> float:
        return synthetic.Cost().size_bytes(config) / 500

    def least(self, space: Any, rules: Any = ()) -> float:
        return synthetic.Cost().minimum_size_bytes(space, rules) / 500


class Priced(synthetic.Cost):
    further: Any = {"energy_mj": Doubled()}  # noqa: RUF012


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunStore(tmp_path).create("run")


@pytest.fixture
def context() -> Any:
    """As much of a context as the costs look at: shapes."""
    spec = dataclasses.replace(QUICK, scheme="fq-vit")
    _, blueprint = load_shapes(spec)
    return SimpleNamespace(spec=spec, prepared=SimpleNamespace(blueprint=blueprint, scheme="fq-vit"))


def problem(**changes: Any) -> SearchProblem:
    space, eight = synthetic.space(), synthetic.uniform(synthetic.space(), 8)
    spec = dataclasses.replace(RunSpec(objectives=("top1", "energy", "size")), **changes)
    uniform = Doubled().of(eight)
    base = synthetic.references(space)
    references = References(
        dataclasses.replace(base.float_model, costs={"energy_mj": 1400.0}),
        dataclasses.replace(base.eight_bit, costs={"energy_mj": uniform}),
    )
    return SearchProblem.from_spec(synthetic.at_widths_of(space, spec), space, Priced(), references)


def test_what_is_an_objective_or_limited_is_asked_for() -> None:
    assert asked_costs(RunSpec()) == ()
    assert asked_costs(RunSpec(max_energy="20mJ")) == asked_costs(ENERGY) == ("energy",)
    assert settled_costs(RunSpec(latency="measured:torch")) == {}
    assert settled_costs(ENERGY) == {"energy": "model:horowitz45"}
    by_latency = dataclasses.replace(ENERGY, energy="", latency="model:horowitz45")
    assert settled_costs(by_latency) == {"energy": "model:horowitz45"}
    with pytest.raises(UserError, match="profile bops has no energies"):
        settled_costs(dataclasses.replace(ENERGY, energy=""))


def test_specs_of_earlier_versions_know_nothing_of_it() -> None:
    assert not {"energy", "max_energy"} & RunSpec().to_json().keys()
    assert RunSpec.from_json(ENERGY.to_json()) == ENERGY


@pytest.mark.parametrize(("text", "value"), [("20mJ", 20.0), ("0.5 J", 500.0), ("3uJ", 0.003)])
def test_limits_have_units(text: str, value: float) -> None:
    (limit,) = RunSpec(max_energy=text).limits
    assert (limit.column, limit.offset, limit.unit) == ("energy_mj", pytest.approx(value), "mJ")
    with pytest.raises(UserError, match=r"--max-energy '20W' is not a limit: write 20mJ, or 0\.9x"):
        RunSpec(max_energy="20W").limits  # noqa: B018


def test_it_is_kept_whatever_becomes_of_the_profile(folder: RunFolder, context: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    shipped = profile_named("horowitz45")
    assert shipped.energy is not None
    text = (
        'description = "a machine"\nsource = "made up"\nbit_operations_per_second = 1e9\n[energy]\n'
        'source = "made up"\npicojoules_per_weight_byte = 1\npicojoules_per_activation_byte = 1\n'
        '[energy.picojoules_per_mac]\nfloat = 5\n"8x8" = 1\n'
    )
    path.write_text(text)
    spec = dataclasses.replace(ENERGY, energy=f"model:{path}")
    first, notes = further_costs(spec, folder, context, 1)
    path.unlink()
    again, none = further_costs(spec, folder, context, 1)
    assert first == again
    assert (len(notes), none) == (1, ())
    folder.write_json(FURTHER, {"energy_mj": {}})
    with pytest.raises(UserError, match=r"further_costs\.json is damaged"):
        further_costs(spec, folder, context, 1)
    assert further_costs(RunSpec(QUICK), folder, context, 1) == ({}, ())


def test_a_problem_prices_limits_and_trades_it_off() -> None:
    found = problem(max_energy="0.18x")
    assert found.priced == ("latency_ms", "size_bytes", "energy_mj")
    genomes = found.space.sample(np.random.default_rng(0), 50)
    candidates = [found.prepare(genome) for genome in genomes]
    for candidate in candidates:
        energy = candidate.values["energy_mj"]
        assert energy == Doubled().of(candidate.config)
        assert (candidate.violations["max_energy"] > 0) == (energy > 0.18 * 1400.0)
    assert {candidate.violations["max_energy"] > 0 for candidate in candidates} == {True, False}
    assert found.box.reference[1] == 1400.0
    assert found.box.ideal[1] == pytest.approx(Doubled().least(found.space, found.structural))
    with pytest.raises(UserError, match=r"--max-energy 0.01x .* the nearest achievable value .* mJ"):
        problem(max_energy="0.01x")


def test_genes_that_save_energy_alone_are_searched() -> None:
    """Activations save no bytes, and latency is no objective."""
    kept = genes_to_keep(problem(objectives=("top1", "size"), allow_slower=True))
    with_energy = genes_to_keep(problem(objectives=("top1", "energy"), allow_slower=True))
    assert kept.bits.keys() == with_energy.bits.keys() != set()
    assert "mJ" in with_energy.note or "energy" in with_energy.note


def test_its_column_stands_behind_all_that_was_there() -> None:
    for priced, last in (
        (problem(), "energy_mj,listed,stands_for"),
        (synthetic.problem(), "listed,stands_for"),
    ):
        header = TableTexts(priced).front([], {}).splitlines()[0]
        assert header.endswith(last)
        assert ("energy_mj" in header) == ("energy" in last)
