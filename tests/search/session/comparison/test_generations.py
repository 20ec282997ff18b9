"""Where a search stood after 2, 5, 10 and 20 generations: by its first evaluations alone."""

from __future__ import annotations

import pytest

from bitfront.search.engine.protocols import InlinePool
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.comparison.generations import marked_generations, marks_of
from bitfront.search.session.comparison.searches import PlannedSearch, SharedSearches

POPULATION, GENERATIONS = 8, 20


@pytest.fixture(scope="module")
def problem(synthetic):
    return synthetic.problem(RunSpec(objectives=("top1", "latency", "size")), synthetic.space())


@pytest.fixture(scope="module")
def searched(synthetic, problem, tmp_path_factory):
    pool = InlinePool(lambda config, _: synthetic.score(config))
    folder = tmp_path_factory.mktemp("searched")
    entry = PlannedSearch("nsga2", 0, POPULATION * GENERATIONS, POPULATION)
    (found,) = SharedSearches(problem, pool, folder).run([entry], lambda _: None)
    return found


@pytest.fixture(scope="module")
def pick(problem, searched):
    front = judging_archive(problem, searched.trials).front
    return front[len(front) // 2]


def test_marks_are_those_of_the_paper_and_the_last_generation():
    assert marked_generations(20) == (2, 5, 10, 20)
    assert marked_generations(25) == (2, 5, 10, 20, 25)
    assert marked_generations(3) == (2, 3)
    assert marked_generations(1) == (1,)


def test_marks_are_by_the_first_evaluations_and_within_the_cost_of_the_pick(problem, searched, pick):
    marks = marks_of(problem, searched.trials, pick, POPULATION, GENERATIONS)
    assert [mark.generations for mark in marks] == [2, 5, 10, 20]
    paid = [trial.digest for trial in searched.trials if trial.paid]
    for mark in marks:
        assert mark.evaluations == mark.generations * POPULATION
        if mark.best is None:
            continue
        assert mark.best.digest in paid[: mark.evaluations]
        assert mark.best.feasible
        for cost in ("latency_ms", "size_bytes"):
            assert mark.best.values[cost] <= pick.values[cost] * (1 + 1e-6)
    shares = [mark.hypervolume_share for mark in marks]
    assert shares == sorted(shares)
    assert 0.0 < shares[0] < 0.99
    assert shares[-1] == pytest.approx(1.0)


def test_after_all_generations_it_is_the_pick_itself(problem, searched, pick):
    last = marks_of(problem, searched.trials, pick, POPULATION, GENERATIONS)[-1]
    assert last.best is not None
    assert last.best.digest == pick.digest


def test_nothing_so_small_and_so_quick_was_found_yet(problem, searched):
    """The last evaluated point, if nothing before it costs as little."""
    paid = [trial for trial in searched.trials if trial.paid and trial.feasible]
    smallest = min(paid, key=lambda t: (t.values["size_bytes"], t.values["latency_ms"]))
    beyond = {cost: 0.9 * smallest.values[cost] for cost in ("latency_ms", "size_bytes")}
    bound = type(smallest)(0, "none", smallest.genome, "complete", {**smallest.values, **beyond}, {})
    marks = marks_of(problem, searched.trials, bound, POPULATION, GENERATIONS)
    assert [mark.best for mark in marks] == [None] * 4


def test_a_search_of_another_population_is_kept_under_another_name():
    names = {
        PlannedSearch("nsga2", 0, 40).file_name,
        PlannedSearch("nsga2", 0, 40, 8).file_name,
        PlannedSearch("nsga2", 0, 40, 16).file_name,
    }
    assert len(names) == 3
    assert "nsga2-seed0-40.json" in names, "those of earlier versions are found"
