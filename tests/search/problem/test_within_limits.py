"""What limits leave of a space, against all of small spaces, whatever couples costs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import synthetic_search

from bitfront.evaluators.latency.costs import least_cost
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.spaces import (
    FORMATS,
    BitConfig,
    Choices,
    EncoderLayers,
    SearchSpace,
    StructuralConstraint,
    mixed_only,
)

Indices = tuple[int, ...]


class Coupled(synthetic_search.Cost):
    """As a runtime that has kernels of 8 bits for activations and attention alone; a file with a table."""

    def latency_ms(self, config: BitConfig) -> float:
        layers = [
            min(FORMATS[value].bits for value in (encoder.bits("activations", layer), encoder.attention))
            for encoder in config.encoders
            for layer in synthetic_search.LINEAR
        ]
        return 2.0 + sum((2.4 if bits < 8 else 0.97) / len(synthetic_search.LINEAR) for bits in layers)

    def size_bytes(self, config: BitConfig) -> int:
        layers = [e.bits("activations", layer) for e in config.encoders for layer in synthetic_search.LINEAR]
        narrow = sum(FORMATS[value].bits < 8 for value in layers)
        # One tensor for the whole model, which has a place in the header.
        return super().size_bytes(config) + (8 + 10 * narrow if narrow else 0)

    def minimum_latency_ms(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        return least_cost(space, self.latency_ms, rules)

    def minimum_size_bytes(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> int:
        return int(least_cost(space, self.size_bytes, rules))


def stated(
    spec: RunSpec, space: SearchSpace | None = None, cost: synthetic_search.Cost | None = None
) -> SearchProblem:
    space = space or synthetic_search.space("encoder-kind", 4)
    return SearchProblem.from_spec(
        synthetic_search.at_widths_of(space, spec),
        space,
        cost or synthetic_search.Cost(),
        synthetic_search.references(space),
    )


def all_within(problem: SearchProblem) -> set[Indices]:
    every = itertools.product(*map(range, problem.space.sizes))
    return {genome for genome in every if problem.prepare(genome).admissible}


def middle(space: SearchSpace, cost: synthetic_search.Cost, share: float) -> dict[str, str]:
    """Limits at a share of the way from the least to the most of each cost."""
    rules = mixed_only(space.choices)
    least = cost.minimum_latency_ms(space, rules), cost.minimum_size_bytes(space, rules)
    ends = [synthetic_search.narrowest(space), synthetic_search.widest(space)]
    most = max(map(cost.latency_ms, ends)), max(map(cost.size_bytes, ends))
    latency, size = ((1 - share) * low + share * high for low, high in zip(least, most, strict=True))
    # Sums of numbers that are rounded: the least may be as much as the most.
    return {"max_latency": f"{latency * (1 + 1e-12)}ms", "max_size": f"{size:.0f}B"}


@pytest.mark.parametrize("cost", [synthetic_search.Cost(), Coupled()])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(
    "space",
    [
        synthetic_search.space("encoder-kind", 3),
        synthetic_search.space("encoder", 6, (3, 4, 8)),
        synthetic_search.space("layer", 1),
        synthetic_search.space("encoder-kind", 4, synthetic_search.UNEVEN),
        synthetic_search.space("encoder-kind", 3, Choices((4, "bf16"), (4, 8, "bf16"), (4, 8))),
        synthetic_search.space("layer", 1, synthetic_search.UNEVEN),
    ],
)
def test_what_is_within_limits_is_listed_and_counted(
    space: SearchSpace, share: float, cost: synthetic_search.Cost
) -> None:
    problem = stated(RunSpec(**middle(space, cost, share)), space, cost)
    truth, within = all_within(problem), WithinLimits(problem)
    assert within.listed is not None
    listed = set(map(tuple, within.listed.tolist()))
    assert truth <= listed
    assert within.left(set()) == len(truth)
    seen = set(sorted(truth)[::2])
    assert within.left(seen) == len(truth) - len(seen)
    assert {g for g in listed if within.admits(g)} == truth
    # Nearly nothing is listed in vain: all-equal genomes, and what the digits of a header decide.
    assert len(listed) <= len(truth) + 0.1 * space.cardinality


@pytest.mark.parametrize("cost", [synthetic_search.Cost(), Coupled()])
def test_genes_with_choices_of_their_own_are_repaired(cost: synthetic_search.Cost) -> None:
    choices = Choices((4, 8, "bf16"), (4, 8), (4, 8, "bf16"))
    space = synthetic_search.space("encoder-kind", 12, choices)
    problem = stated(RunSpec(**middle(space, cost, 0.2)), space, cost)
    within, rng = WithinLimits(problem), np.random.default_rng(0)
    rows = space.sample(rng, 40)
    repaired = within.repaired(rows, rng)
    assert (repaired < space.sizes).all()
    assert sum(within.admits(tuple(row)) for row in rows.tolist()) < 10
    assert sum(within.admits(tuple(row)) for row in repaired.tolist()) >= 38
    assert all(within.admits(genome) for genome in (*within.seeds, *within.cheapest))


@pytest.mark.parametrize("cost", [synthetic_search.Cost(), Coupled()])
@pytest.mark.parametrize(("share", "different"), [(0.1, 8), (0.3, 40)])
def test_genomes_are_repaired_and_those_within_limits_stay(
    cost: synthetic_search.Cost, share: float, different: int
) -> None:
    space = synthetic_search.space()
    problem = stated(RunSpec(**middle(space, cost, share)), space, cost)
    within, rng = WithinLimits(problem), np.random.default_rng(0)
    rows = space.sample(rng, 100)
    before = [within.admits(tuple(row)) for row in rows.tolist()]
    repaired = within.repaired(rows, rng)
    after = [within.admits(tuple(row)) for row in repaired.tolist()]
    assert sum(before) < 20
    assert sum(after) >= 95
    assert (repaired[before] == rows[before]).all()
    # Not all the way to the cheapest: the last encoder changes no more than it must.
    assert len(np.unique(repaired, axis=0)) >= different


def test_limits_that_oppose_each_other_leave_what_meets_both() -> None:
    # Narrow activations are small here, and slow: one encoder may have them.
    class Opposed(Coupled):
        def size_bytes(self, config: BitConfig) -> int:
            bits = synthetic_search.bits_of(config)
            return int(20_000 + 1000 * bits[:, 0].sum() + 500 * bits[:, 1].sum())

    cost, space = Opposed(), synthetic_search.space()
    quick = 2.0 + 12 * 0.97
    small = 20_000 + 12 * (4 * 1000 + 8 * 500)
    spec = RunSpec(max_latency=f"{quick + 1.5}ms", max_size=f"{small - 1500}B")
    problem = stated(spec, space, cost)
    within = WithinLimits(problem)
    assert within.listed is not None, "of 2^36"
    # Which encoder is slow, and whether its attention is narrow, too.
    assert within.left(set()) == 24
    rng = np.random.default_rng(0)
    repaired = within.repaired(space.sample(rng, 200), rng)
    assert (within.excess(repaired) >= 0.0).all()


def test_seeds_are_the_cheapest_the_all_narrow_and_its_flips() -> None:
    space, cost = synthetic_search.space("encoder-kind", 4), Coupled()
    within = WithinLimits(stated(RunSpec(), space, cost))
    quickest, smallest = within.cheapest
    assert np.reshape(quickest, (4, 3)).tolist() != [[1, 1, 1]] * 4, "which is not allowed"
    assert np.reshape(quickest, (4, 3))[:, 1:].all()
    assert np.reshape(smallest, (4, 3)).tolist() == [[0, 1, 1]] * 4, "of several the widest"
    narrow = (0,) * 12
    flips = {tuple(int(gene == flipped) for gene in range(12)) for flipped in range(12)}
    assert set(within.seeds) == {quickest, smallest} | flips, "all narrow is not allowed in this space"
    free = WithinLimits(stated(RunSpec(allow_uniform=True), space, cost))
    assert set(free.seeds) == {(1,) * 12, smallest, narrow} | flips, "of several the widest"
    tight = WithinLimits(stated(RunSpec(**middle(space, cost, 0.05)), space, cost))
    assert {g for g in free.seeds if tight.admits(g)} <= set(tight.seeds)


def test_held_kinds_leave_narrow_genomes_that_are_mixed() -> None:
    layers = [EncoderLayers(i, f"blocks.{i}", synthetic_search.LINEAR) for i in range(5)]
    space = SearchSpace("m", "deploy", layers, (4, 8), fixed=[("activations", 8), ("attention", 8)])
    assert (0,) * 5 in WithinLimits(stated(RunSpec(), space)).seeds


def test_costs_that_are_no_sums_are_searched_within_as_well() -> None:
    class Joint(synthetic_search.Cost):
        def latency_ms(self, config: BitConfig) -> float:
            return 2.0 + float(np.prod(synthetic_search.bits_of(config)[:, 0] / 4.0))

    problem = dataclasses.replace(stated(RunSpec(), synthetic_search.space("encoder", 4)), cost=Joint())
    limit = next(limit for limit in problem.limits if limit.column == "latency_ms")
    problem = dataclasses.replace(problem, limits=(dataclasses.replace(limit, threshold=4.5),))
    within, truth = WithinLimits(problem), all_within(problem)
    assert not within.quick
    assert within.left(set()) == len(truth) == 4
    rng = np.random.default_rng(0)
    repaired = within.repaired(problem.space.sample(rng, 30), rng)
    assert {tuple(row) for row in repaired.tolist()} <= truth | {(0, 0, 0, 0)}


def test_too_many_to_list_are_not_counted() -> None:
    within = WithinLimits(stated(RunSpec(), synthetic_search.space()))
    assert within.listed is None
    assert within.left(set()) is None
