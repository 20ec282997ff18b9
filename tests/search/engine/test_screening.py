"""Screening and the plateau: what a candidate must reach, and when a search has found what there is."""

import dataclasses

import pytest

from bitfront.evaluators.context.screening import hopeless
from bitfront.search.engine.engine import required_difference
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.stopping import Plateau
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore

SPEC = RunSpec(sampler="nsga2", evaluations=60, population=16)


def told(synthetic, problem, genomes):
    trials = [
        problem.trial(number, candidate, synthetic.score(candidate.config), 0.0)
        for number, candidate in enumerate(map(problem.prepare, genomes))
    ]
    return Archive(problem.objectives, trials), trials


def test_a_candidate_must_be_better_than_what_costs_no_more(synthetic):
    problem = synthetic.problem(searched=synthetic.space("encoder", 4))
    archive, (narrow, wide) = told(synthetic, problem, [(0, 1, 0, 0), (0, 1, 1, 1)])
    between = problem.prepare((0, 1, 1, 0))
    assert required_difference(problem, between, archive) == narrow.values["top1"] - 98.5
    assert wide.values["top1"] > narrow.values["top1"]
    assert required_difference(problem, problem.prepare((1, 0, 0, 0)), archive) is None
    assert required_difference(problem, between, Archive(problem.objectives)) is None


def test_a_limit_on_top1_has_to_be_met_in_any_case(synthetic):
    problem = synthetic.problem(RunSpec(max_drop=2.0), synthetic.space("encoder", 4))
    empty = Archive(problem.objectives)
    assert required_difference(problem, problem.prepare((0, 1, 1, 0)), empty) == pytest.approx(-2.0)


def test_axes_that_only_an_evaluation_tells_leave_it_open(synthetic):
    problem = synthetic.problem(RunSpec(objectives=("top1", "kl", "size")), synthetic.space("encoder", 4))
    archive, _ = told(synthetic, problem, [(0, 1, 0, 0)])
    assert required_difference(problem, problem.prepare((0, 1, 1, 0)), archive) is None


def partly(synthetic, asked):
    """An evaluation that looks at a fifth of the images, and at all where the candidate may be needed."""

    def evaluate(config, required=None):
        whole = synthetic.score(config)
        asked.append(required)
        if required is not None and hopeless(whole, required):
            return dataclasses.replace(whole, images=100, lost=whole.lost // 5, won=whole.won // 5)
        return whole

    return evaluate


def test_screened_candidates_are_recorded_and_never_on_the_front(synthetic, tmp_path):
    store, asked = RunStore(tmp_path), []
    screened = synthetic.search(store.create("a"), SPEC, InlinePool(partly(synthetic, asked)))
    states = [trial.state for trial in screened.trials]
    assert 0 < states.count("screened") < 60
    assert any(required is not None for required in asked)
    assert {t.state for t in screened.front} == {"complete"}
    # On all images hardly any of them would have been on the front.
    problem, everything = screened.problem, []
    for trial in screened.trials:
        candidate = problem.prepare(trial.genome)
        known = trial.state == "rejected" or synthetic.score(candidate.config)
        everything.append(trial if known is True else problem.trial(trial.number, candidate, known, 0.0))
    lost = {t.number for t in judging_archive(problem, everything).front} - {
        t.number for t in screened.trials if t.state == "complete"
    }
    assert len(lost) <= 1
    rows = (tmp_path / "a/trials.csv").read_text().splitlines()
    assert sum(",screened,false," in row for row in rows) == states.count("screened")
    again = synthetic.search(store.open("a"), SPEC, InlinePool(partly(synthetic, [])), resume=True)
    assert again.trials == screened.trials


def test_a_plateau_is_so_many_evaluations_without_growth():
    plateau = Plateau(10)
    shares = {0: 0.0, 4: 0.5, 8: 0.6, 12: 0.6002, 18: 0.6004}
    for evaluations in (4, 8, 12):
        plateau.see(evaluations, shares.__getitem__)
        assert not plateau.reached
    plateau.see(18, shares.__getitem__)
    assert plateau.reached
    assert "0.1% of itself in the last 10 evaluations" in plateau.reason
    never = Plateau(None)
    never.see(1000, lambda count: 0.0)
    assert not never.reached


def test_a_search_ends_on_a_plateau_and_a_resumed_one_at_the_same_place(synthetic, tmp_path):
    spec = dataclasses.replace(SPEC, evaluations=2000, plateau=24, population=8)
    space = synthetic.space("encoder", 8)
    store = RunStore(tmp_path)
    result = synthetic.search(store.create("a"), spec, searched=space)
    assert "the hypervolume grew by less than" in result.reason
    assert 24 < result.progress.evaluations < 200
    again = synthetic.search(store.open("a"), spec, searched=space, resume=True)
    assert (again.trials, again.reason) == (result.trials, result.reason)
