"""Stochastic assignments: equal counts of each kind, equal in size, distinct, the same for the same seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.comparison.stochastic import SIZE_SHARE, equal_assignments

KINDS = ("weights", "activations", "attention")


@pytest.fixture(scope="module")
def problem(synthetic):
    return synthetic.problem(RunSpec(), synthetic.space())


def some_pick(problem, narrow=5, seed=3):
    genome = np.ones(len(problem.space), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        genes = [i for i, name in enumerate(problem.space.gene_names) if name.endswith(kind)]
        genome[rng.choice(genes, narrow, replace=False)] = 0
    return tuple(genome.tolist())


def counts(problem, genome):
    """How many genes of each kind have each width."""
    bits = problem.space.bits(np.array(genome))
    return {kind: sorted(width for name, width in bits.items() if name.endswith(kind)) for kind in KINDS}


def size(problem, genome):
    return problem.prepare(genome).values["size_bytes"]


def test_draws_have_as_many_of_each_kind_and_the_size_of_the_pick(problem):
    pick = some_pick(problem)
    draws = equal_assignments(problem, pick, 10, np.random.default_rng(0))
    assert len(set(draws)) == len(draws) == 10
    assert pick not in draws
    for draw in draws:
        assert counts(problem, draw) == counts(problem, pick)
        assert size(problem, draw) == pytest.approx(size(problem, pick), rel=SIZE_SHARE)
    # Encoders of the synthetic model are not equally large: not every permutation would have done.
    shuffled = [np.random.default_rng(i).permutation(np.array(pick)[0::3]) for i in range(50)]
    rows = np.tile(pick, (50, 1))
    rows[:, 0::3] = shuffled
    apart = [abs(size(problem, row) / size(problem, pick) - 1.0) for row in rows]
    assert max(apart) > SIZE_SHARE


def test_a_seed_draws_the_same(problem):
    pick = some_pick(problem)
    first, again, other = (equal_assignments(problem, pick, 5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again != other


def test_fewer_come_back_where_there_are_no_more(problem, synthetic):
    # One of two encoders narrow in weights alone: the only other permutation is of another size.
    small = synthetic.problem(RunSpec(), synthetic.space(encoders=2))
    assert equal_assignments(small, (0, 1, 1, 1, 1, 1), 10, np.random.default_rng(0)) == []
    assert equal_assignments(small, (1, 0, 1, 1, 1, 1), 10, np.random.default_rng(0)) == [(1, 1, 1, 1, 0, 1)]


def test_genes_that_are_kept_stay(problem, synthetic):
    kept = {f"encoder{i:02d}.attention": 8 for i in range(12)}
    space = synthetic.space().keeping(kept)
    narrowed = dataclasses.replace(problem, space=space)
    pick = tuple(i % 2 for i in range(len(space)))
    for draw in equal_assignments(narrowed, pick, 5, np.random.default_rng(0)):
        assert all(encoder.attention == 8 for encoder in narrowed.prepare(draw).config.encoders)
