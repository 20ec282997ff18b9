"""Costs of many genomes as sums over genes and layers, against the price of each."""

import dataclasses

import numpy as np
import pytest
from synthetic_search import UNEVEN

from bitfront.search.problem.cost_tables import CostTables
from bitfront.search.problem.objectives import USUAL_COLUMNS


@pytest.mark.parametrize("granularity", ["encoder", "encoder-kind", "layer"])
@pytest.mark.parametrize("widths", [(4, 8), (3, 4, 8), UNEVEN])
def test_costs_of_many_genomes_are_those_of_each(synthetic, granularity, widths):
    if widths is UNEVEN and granularity == "encoder":
        pytest.skip("one gene for all kinds has the same formats for them")
    problem = synthetic.problem(searched=synthetic.space(granularity, 3, widths))
    tables = CostTables(problem)
    genomes = problem.space.sample(np.random.default_rng(1), 30)
    one_by_one = [[problem.prepare(g).values[column] for column in USUAL_COLUMNS] for g in genomes]
    assert tables.additive
    np.testing.assert_allclose(tables(genomes), one_by_one, rtol=1e-4)
    alone = np.zeros((1, len(problem.space)), dtype=np.int64)
    alone[0, 2] = 1
    gain = tables(alone) - tables(np.zeros_like(alone))
    np.testing.assert_allclose(tables.by_gene()[:, 2, 1], gain[0])
    assert np.isfinite(tables.by_gene()).sum(2).tolist() == [list(problem.space.sizes)] * 2


def test_costs_that_are_no_sums_are_priced_one_by_one(synthetic):
    class Joint(synthetic.Cost):
        def latency_ms(self, config):
            return 2.0 + float(np.prod(synthetic.bits_of(config)[:, 0] / 4.0))

    space = synthetic.space("encoder-kind", 3)
    problem = dataclasses.replace(synthetic.problem(searched=space), cost=Joint())
    tables = CostTables(problem)
    assert not tables.additive
    genomes = space.sample(np.random.default_rng(1), 10)
    assert tables(genomes)[:, 0].tolist() == [problem.prepare(g).values["latency_ms"] for g in genomes]


def test_what_is_there_once_for_all_encoders_is_an_error_that_is_known(synthetic):
    class Shared(synthetic.Cost):
        """A table that any narrow activations bring, as codebooks are in a small file."""

        def size_bytes(self, config):
            narrow = (synthetic.bits_of(config)[:, 1] < 8).any()
            return super().size_bytes(config) + (300 if narrow else 0)

    problem = dataclasses.replace(synthetic.problem(), cost=Shared())
    tables = CostTables(problem)
    assert tables.additive, "nearly all genomes have it"
    wide = np.ones((1, len(problem.space)), dtype=np.int64)
    missed = tables(wide)[0, 1] - problem.prepare(wide[0]).values["size_bytes"]
    assert abs(missed) == 300
    assert tables.error[1] >= 300
