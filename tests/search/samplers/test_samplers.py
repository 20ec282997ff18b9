"""NSGA-II and random search, the first population and the genetic operators."""

import itertools
from collections import deque

import numpy as np
import pytest

from bitfront.search.engine.engine import NONE_WITHIN_LIMITS, WITHIN_LIMITS, SearchEngine
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.genomes.operators import (
    EncoderCrossover,
    ResampleMutation,
    encoder_blocks,
    first_population,
    stratified_population,
)
from bitfront.search.samplers.nsga2 import Nsga2Sampler
from bitfront.search.samplers.registry import SAMPLERS, make_sampler
from bitfront.spaces import SearchSpace, UserError


def run(synthetic, problem, name, evaluations, seed, population=16):
    """Asks, and tells as late as the sampler allows, until the evaluations are spent; returns all trials."""
    sampler, trials, untold = make_sampler(name, problem, population, seed), [], deque()
    while sum(t.paid for t in trials) < evaluations:
        batch = []
        for genome in sampler.ask():
            candidate = problem.prepare(genome)
            values, violations, state = candidate.values, candidate.violations, "rejected"
            if candidate.admissible:
                values, violations = problem.judge(candidate, synthetic.score(candidate.config))
                state = "complete"
            number = len(trials) + len(batch)
            batch.append(Trial(number, candidate.digest, candidate.genome, state, values, violations))
        if not batch:
            break
        trials += batch
        untold.append(batch)
        if len(untold) > sampler.lag:
            sampler.tell(untold.popleft())
    return trials


@pytest.mark.parametrize("seed", range(3))
def test_nsga2_beats_random_search_at_equal_evaluations(synthetic, seed):
    problem = synthetic.problem()
    shares = {}
    for name in ("nsga2", "random"):
        trials = run(synthetic, problem, name, 192, seed)
        shares[name] = problem.box.share(Archive(problem.objectives, trials).front_points)
    assert shares["nsga2"] > shares["random"] + 0.1


def test_nsga2_lives_with_failures_and_wide_violations(synthetic):
    problem = synthetic.problem(RunSpec(min_top1=97.0, max_size="0.2x"))
    sampler = Nsga2Sampler(problem, 8, seed=0)
    for generation in range(4):
        prepared = [problem.prepare(genome) for genome in sampler.ask()]
        states = ["failed", "rejected"] * 4
        sampler.tell(
            [
                Trial(generation * 8 + i, p.digest, p.genome, states[i], p.values, p.violations)
                for i, p in enumerate(prepared)
            ]
        )
    assert len(sampler.ask()) == 8


def test_tell_needs_a_trial_for_every_genome(synthetic):
    sampler = Nsga2Sampler(synthetic.problem(), 8, seed=0)
    sampler.ask()
    with pytest.raises(ValueError, match="one trial for each genome"):
        sampler.tell([])


@pytest.mark.parametrize("widths", [(4, 8), (2, 4, 6, 8)])
def test_the_first_population_spans_the_widths(synthetic, widths):
    space = synthetic.space(widths=widths)
    within = WithinLimits(synthetic.problem(RunSpec(allow_uniform=True), space))
    population = np.array(stratified_population(space, 24, np.random.default_rng(0), within))
    share = population.mean(axis=1) / (len(widths) - 1)
    assert len(np.unique(population, axis=0)) == 24
    assert share.min() < 0.08
    assert share.max() > 0.92
    assert np.abs(np.sort(share) - (np.arange(24) + 0.5) / 24).max() < 0.08


@pytest.mark.parametrize("limit", [1.02, 1.3])
def test_the_first_population_is_within_the_limits_however_tight(synthetic, limit):
    least = synthetic.problem().cost.minimum_size_bytes(synthetic.space())
    problem = synthetic.problem(RunSpec(max_size=f"{int(least * limit)}B"))
    rng, within = np.random.default_rng(0), WithinLimits(problem)
    drawn = sum(problem.prepare(row.tolist()).admissible for row in problem.space.sample(rng, 500))
    assert drawn == 0 if limit < 1.1 else 0 < drawn < 450
    for genomes in (
        stratified_population(problem.space, 12, rng, within),
        first_population(problem.space, 12, rng, within),
    ):
        assert len(set(genomes)) == 12
        assert all(problem.prepare(genome).admissible for genome in genomes)


def test_a_quarter_of_the_first_population_are_seeds_and_more_where_limits_leave_nothing_else(synthetic):
    layers = synthetic.space().encoders
    space = SearchSpace("m", "fq-vit", layers, (4, 8), fixed=[("activations", 8), ("attention", 8)])
    rng, narrow = np.random.default_rng(0), (0,) * 12
    loose = WithinLimits(synthetic.problem(searched=space))
    genomes = first_population(space, 32, rng, loose)
    assert narrow in genomes
    assert 8 <= sum(sum(genome) <= 1 for genome in genomes) < 13
    assert np.mean(genomes, axis=1).max() > 0.9
    tight = WithinLimits(synthetic.problem(RunSpec(max_size="101kB"), space))
    assert set(first_population(space, 32, rng, tight)) == set(tight.seeds)
    assert len(tight.seeds) == 1 + 7


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "optuna-gp"])
def test_few_configurations_within_limits_are_all_evaluated(synthetic, name):
    layers = synthetic.space().encoders[:10]
    space = SearchSpace("m", "fq-vit", layers, (4, 8), fixed=[("activations", 8), ("attention", 8)])
    # All narrow, or one of the smaller encoders wide, or two of the smallest.
    problem = synthetic.problem(RunSpec(max_size="88kB"), space)
    every = [problem.prepare(genome) for genome in itertools.product(range(2), repeat=10)]
    admissible = {candidate.genome for candidate in every if candidate.admissible}
    assert 8 < len(admissible) < 30
    pool = InlinePool(synthetic.score)
    engine = SearchEngine(
        problem, make_sampler(name, problem, None, 0), pool, StudyRecord.in_memory(problem), Budget(100)
    )
    result = engine.run()
    assert {trial.genome for trial in result.trials if trial.paid} == admissible
    assert result.reason == f"{WITHIN_LIMITS} ({len(admissible)} of 1,024)"
    fewer = SearchEngine(
        problem, make_sampler(name, problem, None, 1), pool, StudyRecord.in_memory(problem), Budget(8)
    )
    assert sum(trial.paid for trial in fewer.run().trials) == 8


@pytest.mark.parametrize("name", ["surrogate-nsga2", "nsga2", "random", "optuna-tpe", "exhaustive"])
def test_where_nothing_meets_all_limits_what_came_near_is_told(synthetic, name):
    class Opposed(synthetic.Cost):
        def size_bytes(self, config):
            return 40_000 - int(400 * synthetic.bits_of(config)[:, 1].sum())

        def minimum_size_bytes(self, space, rules=()):
            return self.size_bytes(synthetic.uniform(space, 8))

        def maximum_size_bytes(self, space):
            return self.size_bytes(synthetic.uniform(space, 4))

    space, cost = synthetic.space("encoder-kind", 3), Opposed()
    spec = RunSpec(max_size="32kB", max_latency="4.3ms", allow_larger=True)
    spec = synthetic.at_widths_of(space, spec)
    problem = SearchProblem.from_spec(spec, space, cost, synthetic.references(space))
    pool = InlinePool(synthetic.score)
    engine = SearchEngine(
        problem, make_sampler(name, problem, None, 0), pool, StudyRecord.in_memory(problem), Budget(100)
    )
    result = engine.run()
    assert result.reason == NONE_WITHIN_LIMITS
    assert not any(trial.paid for trial in result.trials)
    assert result.trials
    assert "limits" in (result.message or "")


def test_limits_of_costs_are_no_matter_of_luck_in_large_spaces(synthetic):
    least = synthetic.problem().cost.minimum_size_bytes(synthetic.space())
    problem = synthetic.problem(RunSpec(max_size=f"{int(least * 1.02)}B"))
    for name in ("surrogate-nsga2", "nsga2", "random"):
        trials = run(synthetic, problem, name, 40, 0)
        assert sum(trial.paid for trial in trials) >= 40
        assert not any(trial.state == "rejected" for trial in trials)


def test_crossover_exchanges_and_invents_nothing(synthetic):
    blocks = encoder_blocks(synthetic.space())
    parents = np.stack([np.zeros((200, 36), dtype=int), np.ones((200, 36), dtype=int)])
    children = EncoderCrossover(blocks)._do(None, parents, random_state=np.random.default_rng(0))
    assert (children.sum(axis=0) == 1).all()
    per_encoder = children[0].reshape(200, 12, 3)
    whole = (per_encoder == per_encoder[:, :, :1]).all(axis=(1, 2))
    assert 60 < whole.sum() < 140, "about half of the matings exchange whole encoders"


def test_mutation_changes_one_gene_on_average_and_stays_in_range():
    genomes = np.zeros((2000, 36), dtype=int)
    mutated = ResampleMutation([3] * genomes.shape[1])._do(
        None, genomes, random_state=np.random.default_rng(0)
    )
    assert set(np.unique(mutated)) == {0, 1, 2}
    assert (mutated != genomes).sum(axis=1).mean() == pytest.approx(1.0, abs=0.1)


def test_mutation_takes_each_of_a_genes_own_choices():
    genomes = np.zeros((2000, 4), dtype=int)
    mutated = ResampleMutation((3, 2, 4, 2))._do(None, genomes, random_state=np.random.default_rng(0))
    assert [set(np.unique(column)) for column in mutated.T] == [set(range(size)) for size in (3, 2, 4, 2)]


def test_history_draws_what_is_left(synthetic):
    space = synthetic.space("encoder", 3)
    history, rng = History(space), np.random.default_rng(0)
    history.add([(0, 0, 0), (1, 1, 1)])
    assert len(set(history.draw(rng, 100))) == 6
    assert history.exhausted
    assert history.draw(rng, 1) == []


def test_unknown_samplers_and_tiny_populations_are_refused(synthetic):
    with pytest.raises(UserError, match="unknown sampler 'tpe': choose one of surrogate-nsga2, nsga2, "):
        make_sampler("tpe", synthetic.problem(), 8, 0)
    with pytest.raises(UserError, match="give at least 2"):
        make_sampler("nsga2", synthetic.problem(), 1, 0)
