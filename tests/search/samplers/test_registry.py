"""Samplers by name: their defaults, exhaustive search, Optuna's samplers, and the same trials every time."""

import dataclasses
import itertools

import numpy as np
import optuna
import pytest

from bitfront.search.engine.engine import EVALUATIONS_SPENT, EXHAUSTED
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure, Trial
from bitfront.search.runs.folder import RunStore
from bitfront.search.samplers.exhaustive import ExhaustiveSearch, check_exhaustible
from bitfront.search.samplers.optuna_sampler import OptunaSampler
from bitfront.search.samplers.registry import SAMPLERS, default_evaluations, default_population, make_sampler
from bitfront.spaces import UserError

OPTUNA = [
    "optuna-tpe",
    "optuna-nsga2",
    # Fits three processes and a constraint's for every candidate.
    pytest.param("optuna-gp", marks=pytest.mark.slow),
]


class Backwards:
    """Returns results in the reverse order of submission, several at a time: the opposite of one worker."""

    capacity = 5

    def __init__(self, evaluate):
        self.evaluate, self.waiting, self.calls = evaluate, [], 0

    def submit(self, key, config, required=None):
        self.waiting.append((key, config))

    def next_completed(self, timeout):
        if not self.waiting:
            return None
        key, config = self.waiting.pop()
        self.calls += 1
        if int(config.digest, 16) % 3 == 0:
            return key, EvaluationFailure("no such kernel")
        return key, self.evaluate(config)

    def close(self):
        self.waiting.clear()


class OneByOne(Backwards):
    capacity = 1


class StopAfter:
    """Ends the process's search, as a kill would, after some evaluations."""

    def __init__(self, evaluations):
        self.evaluations = evaluations

    def __call__(self, progress, trial):
        if trial is not None and progress.evaluations == self.evaluations:
            raise SystemExit


def judged(synthetic, problem, number, genome):
    candidate = problem.prepare(genome)
    if not candidate.admissible:
        return Trial(
            number, candidate.digest, candidate.genome, "rejected", candidate.values, candidate.violations
        )
    return problem.trial(number, candidate, synthetic.score(candidate.config), 0.0)


@pytest.mark.parametrize("name", ["random", "exhaustive", *OPTUNA])
def test_same_trials_whatever_the_order_of_completion_and_after_a_kill(synthetic, tmp_path, name):
    space, store = synthetic.space("encoder", 6), RunStore(tmp_path)
    spec = RunSpec(sampler=name, evaluations=16, population=4, objectives=("top1", "size"), max_size="0.095x")
    whole = synthetic.search(store.create("whole"), spec, OneByOne(synthetic.score), searched=space)
    backwards = synthetic.search(store.create("b"), spec, Backwards(synthetic.score), searched=space)
    assert backwards.trials == whole.trials
    assert {trial.state for trial in whole.trials} - {"rejected"} == {"complete", "failed"}
    assert name.startswith("optuna") or not any(trial.state == "rejected" for trial in whole.trials)
    cut = store.create("cut")
    with pytest.raises(SystemExit):
        synthetic.search(cut, spec, Backwards(synthetic.score), searched=space, observers=(StopAfter(12),))
    pool = Backwards(synthetic.score)
    resumed = synthetic.search(cut, spec, pool, searched=space, resume=True)
    assert resumed.trials == whole.trials
    assert 0 < pool.calls <= 16 - 12
    other = dataclasses.replace(spec, seed=1)
    assert synthetic.search(store.create("other"), other, searched=space).trials != whole.trials


def test_exhaustive_begins_with_all_sizes_and_finds_the_true_front(synthetic, folder):
    space = synthetic.space("encoder", 8)
    free = RunSpec(sampler="exhaustive", evaluations=300, allow_uniform=True)
    sampler = ExhaustiveSearch(synthetic.problem(free, space), 9, seed=3)
    first = sampler.ask()
    assert sorted(sum(genome) for genome in first) == list(range(9))
    rest = []
    while batch := sampler.ask():
        rest += batch
    assert len({*first, *rest}) == len(first) + len(rest) == space.cardinality
    result = synthetic.search(folder, free, searched=space)
    assert result.reason == EXHAUSTED
    genomes = np.stack(np.unravel_index(np.arange(256), (2,) * 8), axis=1)
    everything = [judged(synthetic, result.problem, i, genome) for i, genome in enumerate(genomes)]
    truth = judging_archive(result.problem, everything)
    assert len(truth.front) > 8
    assert {t.genome for t in result.front} == {t.genome for t in truth.front}


def test_exhaustive_counts_first_and_refuses_absurd_sizes(synthetic):
    problem = synthetic.problem()
    with pytest.raises(
        UserError,
        match=r"encoder-kind has 68,719,476,736 \(2\^36\) configurations, and at most 65,536 can be tried "
        r"one by one: choose --space encoder, which has 4,096",
    ):
        make_sampler("exhaustive", problem, None, 0)
    with pytest.raises(UserError, match=r"layer has 2\^108 configurations"):
        check_exhaustible(synthetic.space("layer"))
    with pytest.raises(UserError, match=r"531,441 \(3\^12\) .*: choose another --sampler$"):
        default_evaluations("exhaustive", synthetic.space("encoder", widths=(2, 4, 8)))


def test_exhaustive_evaluates_everything_unless_a_number_is_given(synthetic, folder):
    space = synthetic.space("encoder", 5)
    assert default_evaluations("exhaustive", space) == 32
    assert default_evaluations("nsga2", space) == 100
    assert default_evaluations("surrogate-nsga2", space) == 40
    assert default_evaluations("surrogate-nsga2", synthetic.space("encoder-kind")) == 100
    result = synthetic.search(folder, RunSpec(sampler="exhaustive", evaluations=20), searched=space)
    assert result.reason == EVALUATIONS_SPENT
    assert result.progress.evaluations == 20


def test_every_sampler_has_a_summary_and_a_population():
    for name, kind in SAMPLERS.items():
        assert kind.summary
        assert default_population(name) == kind.population >= 2


@pytest.mark.parametrize("name", OPTUNA)
def test_optuna_never_repeats_itself_and_ends_with_the_space(synthetic, name):
    problem = synthetic.problem(RunSpec(objectives=("top1", "size")), synthetic.space("encoder", 4))
    sampler, asked = make_sampler(name, problem, 6, 0), []
    while batch := sampler.ask():
        sampler.tell([judged(synthetic, problem, len(asked) + i, g) for i, g in enumerate(batch)])
        asked += batch
    assert len(asked) == len(set(asked))
    mixed = set(itertools.product(range(2), repeat=4)) - {(0,) * 4, (1,) * 4}
    assert mixed <= set(asked)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_optuna_learns_which_candidates_are_feasible(synthetic, name):
    """With a limit on size, later candidates keep it far more often than the first, random ones."""
    problem = synthetic.problem(RunSpec(max_size="0.18x"))
    sampler, trials = OptunaSampler(name, problem, 16, seed=0), []
    for _ in range(16):
        batch = sampler.ask()
        trials += [judged(synthetic, problem, len(trials) + i, g) for i, g in enumerate(batch)]
        sampler.tell(trials[-len(batch) :])
    kept = [trial.violations["max_size"] <= 0.0 for trial in trials]
    assert np.mean(kept[-64:]) > np.mean(kept[:32]) + 0.3


def test_optuna_is_told_constraints_and_failures_as_they_are(synthetic):
    problem = synthetic.problem(RunSpec(max_size="0.185x"))
    sampler = OptunaSampler("nsga2", problem, 12, seed=0)
    trials = [judged(synthetic, problem, i, genome) for i, genome in enumerate(sampler.ask())]
    trials[3] = dataclasses.replace(trials[3], state="failed", values={}, error="no such kernel")
    sampler.tell(trials)
    told = sampler._study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert len(told) == 11
    known = [trial for trial in trials if trial.state != "failed"]
    feasible = [frozen.constraints["violation"] <= 0.0 for frozen in told]
    assert feasible == [trial.feasible for trial in known]
    assert 0 < sum(feasible) < 11
    seen = []
    for frozen, trial in zip(told, known, strict=True):
        assert frozen.values[1:] == [trial.values["latency_ms"], trial.values["size_bytes"]]
        if trial.state == "complete":
            seen.append(-trial.values["top1"])
            assert frozen.values[0] == seen[-1]
        else:
            assert frozen.values[0] == (np.median(seen) if seen else 0.0)


def test_optuna_needs_a_trial_for_every_genome(synthetic):
    sampler = OptunaSampler("tpe", synthetic.problem(), 4, seed=0)
    sampler.ask()
    with pytest.raises(ValueError, match="one trial for each genome"):
        sampler.tell([])
