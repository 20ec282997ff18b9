"""Progressive narrowing and thresholds: stages, what goes back, limits, and an order that S decides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.known_scores import KnownScores
from bitfront.search.samplers.progressive import ProgressiveSampler
from bitfront.search.samplers.registry import scores_of
from bitfront.search.samplers.stages import stages_of
from bitfront.search.samplers.thresholds import ThresholdsSampler
from bitfront.spaces import UserError

FREE = {"objectives": ("top1", "size"), "allow_uniform": True, "allow_larger": True}


def known(space, seed=0):
    return KnownScores(spectral=np.random.default_rng(seed).random(len(space)))


def ask_and_tell(synthetic, problem, sampler):
    """One batch, with its trials."""
    batch, trials = sampler.ask(), []
    for number, genome in enumerate(batch):
        candidate = problem.prepare(genome)
        outcome = synthetic.score(candidate.config)
        trials.append(problem.trial(number, candidate, outcome, 0.0))
    sampler.tell(trials)
    return dict(zip(batch, trials, strict=True))


def test_stages_follow_one_another_and_a_coarse_gene_is_of_the_first(synthetic):
    layers = stages_of(synthetic.space("layer", 2))
    assert [stage.name for stage in layers] == ["MLP", "attention output", "queries, keys and values"]
    names = synthetic.space("layer", 2).gene_names
    assert all("mlp" in names[gene] for gene in layers[0].genes)
    assert sorted(gene for stage in layers for gene in stage.genes) == list(range(len(names)))
    assert [stage.name for stage in stages_of(synthetic.space("encoder", 2))] == ["MLP"]
    kinds = stages_of(synthetic.space("encoder-kind", 2), by_kind=True)
    assert [len(stage.genes) for stage in kinds] == [2, 2, 2]


@pytest.mark.parametrize("widths", [(4, 8), (3, 4, 8)])
def test_a_pass_keeps_the_most_genes_narrow_that_the_drop_allows(synthetic, widths):
    """What a stage ends with is what trying every number of steps, one after the other, ends with."""
    space = synthetic.space("layer", 3, widths)
    problem, scores = synthetic.problem(RunSpec(stage_drop=4.0, **FREE), space), known(space)
    sampler, asked = ProgressiveSampler(problem, 3, 0, scores), {}
    while len(asked) < 40:
        asked |= ask_and_tell(synthetic, problem, sampler)

    def narrow(genome):
        return sum(len(widths) - 1 - index for index in genome)

    mlp = set(stages_of(space)[0].genes)
    first = list(itertools.takewhile(lambda genome: only(genome, mlp, len(widths) - 1), asked))
    drops = {narrow(genome): 98.5 - asked[genome].values["top1"] for genome in first}
    kept = max((steps for steps, drop in drops.items() if drop <= 4.0), default=0)
    assert any(steps > kept for steps in drops)
    assert drops[kept + 1] > 4.0
    second = list(asked)[len(first)]
    narrowed = {gene for gene, index in enumerate(second) if index < len(widths) - 1}
    # The next stage goes on from there, and what went back are the genes of the largest S.
    assert sum(len(widths) - 1 - second[gene] for gene in mlp) == kept
    order = sorted(mlp, key=lambda gene: scores.spectral[gene])
    assert narrowed & mlp == set(order[: len(narrowed & mlp)])


def only(genome, genes, widest):
    """Whether nothing but some genes is narrow."""
    return all(index == widest or gene in genes for gene, index in enumerate(genome))


def test_the_first_drop_is_what_was_asked_for_or_a_limit_allows(synthetic):
    def first(**settings):
        return ProgressiveSampler(synthetic.problem(RunSpec(**settings)), 4, 0)._allowed()

    assert first(stage_drop=2.0, max_drop=1.0) == 2.0
    assert first(max_drop=1.5) == pytest.approx(1.5)
    assert first(min_top1=97.5) == pytest.approx(1.0)
    assert first() == 0.5
    assert first(max_drop=0.0) > 0.0
    with pytest.raises(UserError, match="--stage-drop 0 is no drop"):
        RunSpec(stage_drop=0.0).check()


@pytest.mark.parametrize("kind", [ProgressiveSampler, ThresholdsSampler])
def test_nothing_beyond_a_limit_of_costs_is_asked_for(synthetic, kind):
    space = synthetic.space("layer", 4)
    problem = synthetic.problem(RunSpec(max_size="0.085x", **FREE), space)
    sampler = kind(problem, 4, 1, known(space))
    for _ in range(12):
        assert all(problem.prepare(genome).admissible for genome in ask_and_tell(synthetic, problem, sampler))


def test_narrowing_stops_where_it_costs_time(synthetic):
    """As where a runtime has no kernels for few bits."""

    class Slow(synthetic.Cost):
        def latency_ms(self, config):
            return 4.0 - super().latency_ms(config) / 10

        def minimum_latency_ms(self, space, rules=()):
            return self.latency_ms(synthetic.uniform(space, space.widths[-1]))

    space = synthetic.space("layer", 4)
    costs, references = Slow(), synthetic.references(space)
    middle = (costs.minimum_latency_ms(space) + costs.latency_ms(synthetic.uniform(space, 4))) / 2
    spec = RunSpec(max_latency=f"{middle:.4f}ms", stage_drop=50.0, **FREE)
    problem = SearchProblem.from_spec(synthetic.at_widths_of(space, spec), space, costs, references)
    sampler = ProgressiveSampler(problem, 4, 0, known(space))
    asked = {}
    while len(asked) < 8:
        asked |= ask_and_tell(synthetic, problem, sampler)
    assert all(problem.prepare(genome).admissible for genome in asked)
    mlp = set(stages_of(space)[0].genes)
    assert only(next(iter(asked)), mlp, 1)


def test_failures_send_genes_back_and_end_nothing(synthetic):
    space = synthetic.space("layer", 3)
    problem = synthetic.problem(RunSpec(stage_drop=50.0, **FREE), space)

    def evaluate(config, required):
        if config.encoders[0].bits("weights", "mlp.fc1") < 8:
            raise ValueError("no such kernel")
        return synthetic.score(config)

    sampler = ProgressiveSampler(problem, 4, 0, known(space))
    record = StudyRecord.in_memory(problem)
    result = SearchEngine(problem, sampler, InlinePool(evaluate), record, Budget(60)).run()
    assert result.progress.evaluations == 60
    place = space.gene_names.index("encoder00.mlp.fc1.weights")
    complete = [trial.genome for trial in result.trials if trial.state == "complete"]
    assert all(genome[place] == 1 for genome in complete)
    assert min(map(sum, complete)) < len(space) / 2
    assert any(trial.error and "no such kernel" in trial.error for trial in result.trials)


def test_known_trials_are_learnt_from_and_not_asked_for(synthetic):
    space = synthetic.space("layer", 3)
    problem = synthetic.problem(RunSpec(**FREE), space)
    first = ProgressiveSampler(problem, 4, 0, known(space))
    taken = ask_and_tell(synthetic, problem, first)
    second = ProgressiveSampler(problem, 4, 0, known(space))
    second.take(list(taken.values()))
    following = second.ask()
    assert following == first.ask()
    failed = problem.trial(0, problem.prepare(following[0]), EvaluationFailure("x"), 0.0)
    second.tell([failed])
    assert second._drops[following[0]] == np.inf


@pytest.mark.parametrize("name", ["progressive", "thresholds"])
def test_a_killed_run_goes_on_to_the_same_trials(synthetic, tmp_path, name):
    space, store = synthetic.space("encoder-kind", 4), RunStore(tmp_path)
    spec = RunSpec(sampler=name, evaluations=40, population=4, max_drop=3.0, objectives=("top1", "size"))
    whole = synthetic.search(store.create("whole"), spec, searched=space)

    def strike(progress, trial):
        if trial is not None and progress.evaluations == 17:
            raise SystemExit

    cut = store.create("cut")
    with pytest.raises(SystemExit):
        synthetic.search(cut, spec, searched=space, observers=(strike,))
    assert synthetic.search(cut, spec, searched=space, resume=True).trials == whole.trials
    assert whole.progress.evaluations == 40


def test_thresholds_come_first_and_then_those_of_kinds_and_stages(synthetic):
    space = synthetic.space("layer", 3)
    problem, scores = synthetic.problem(RunSpec(**FREE), space), known(space)
    sampler, asked = ThresholdsSampler(problem, 4, 0, scores), []
    while len(asked) < 60:
        asked += sampler.ask()
    order = np.argsort(scores.spectral)

    def by_one_threshold(genome):
        return sorted(np.array(genome)[order]) == list(np.array(genome)[order])

    common = len(space) + 1
    assert all(map(by_one_threshold, asked[:common]))
    assert {sum(genome) for genome in asked[:2]} == {0, len(space)}
    assert not any(map(by_one_threshold, asked[common:]))
    for stage in stages_of(space, by_kind=True):
        own = sorted(stage.genes, key=lambda gene: scores.spectral[gene])
        for genome in asked[common:]:
            assert [genome[gene] for gene in own] == sorted(genome[gene] for gene in own)


def test_equal_sensitivities_are_in_an_order_that_the_seed_decides(synthetic):
    space = synthetic.space("encoder-kind", 6)
    tied = KnownScores(spectral=np.repeat([1.0, 0.0], len(space) // 2))
    one, other = (tied.ranks(len(space), np.random.default_rng(seed)) for seed in (0, 1))
    assert sorted(one) == sorted(other) == list(range(len(space)))
    assert one.tolist() != other.tolist()
    assert one[len(space) // 2 :].max() < one[: len(space) // 2].min()


def test_which_scores_samplers_begin_with():
    assert scores_of(["progressive", "random"]) == {"spectral"}
    assert scores_of(["surrogate-nsga2", "thresholds"]) == {"gradient", "spectral"}
    assert not scores_of(["nsga2"])
