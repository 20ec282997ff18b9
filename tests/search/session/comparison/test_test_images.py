"""Fronts of a comparison as the test images see them."""

import dataclasses

import numpy as np
import pytest

from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.problem.spec import RunSpec
from bitfront.search.reports.comparison import sections
from bitfront.search.session.comparison.document import marks
from bitfront.search.session.comparison.searches import PlannedSearch, SharedSearches
from bitfront.search.session.comparison.test_images import TestImages, fronts_at

SEARCHED = {"top1": 98.5}
WHOLE = Quality(400, {"top1": 90.0}, 0, 0, 0.0)


@pytest.fixture(scope="module")
def problem(synthetic):
    return synthetic.problem(RunSpec(objectives=("top1", "size")), synthetic.space("encoder", 8))


@pytest.fixture(scope="module")
def searches(synthetic, problem, tmp_path_factory):
    pool = InlinePool(lambda config, _: synthetic.score(config))
    shared = SharedSearches(problem, pool, tmp_path_factory.mktemp("s"))
    found = shared.run([PlannedSearch(name, 0, 40) for name in ("nsga2", "random")], lambda _: None)
    return [(one, fronts_at(problem, one.trials, 40)) for one in found]


def seen_on_test(synthetic, problem, searches, worse):
    """Qualities on the test images: as on the search images, but for the float model's share there."""
    found = {}
    for _, fronts in searches:
        for trial in (t for front in fronts.values() for t in front):
            value = synthetic.score(problem.space.decode(np.array(trial.genome)))["top1"]
            found[trial.digest] = Quality(400, {"top1": value - 8.5 - worse}, 0, 0, 0.0)
    return TestImages(found, WHOLE, SEARCHED)


def test_fronts_are_those_of_the_first_evaluations_alone(problem, searches):
    for searched, fronts in searches:
        paid = [trial.digest for trial in searched.trials if trial.paid]
        assert list(fronts) == list(marks(40))
        for count, front in fronts.items():
            assert {trial.digest for trial in front} <= set(paid[:count])
            assert front


def test_metrics_are_differences_to_float_on_the_test_images(synthetic, problem, searches):
    front = searches[0][1][40]
    points = seen_on_test(synthetic, problem, searches, 2.0).points(problem, front)
    for (minus, size), trial in zip(points, front, strict=True):
        assert size == trial.values["size_bytes"]
        assert -minus == pytest.approx(trial.values["top1"] - 2.0)


def test_shares_are_at_most_one_and_configurations_that_failed_count_nothing(synthetic, problem, searches):
    images = seen_on_test(synthetic, problem, searches, 0.0)
    figures = images.figures(problem, searches)
    assert figures["images"] == 400
    assert list(figures["samplers"]) == ["nsga2", "random"]
    for found in figures["samplers"].values():
        shares = [at["median"] for at in found]
        assert all(0.0 <= share <= 1.0 + 1e-9 for share in shares)
        assert shares[-1] > shares[0]
    none = dataclasses.replace(images, qualities={}).figures(problem, searches)
    assert {at["median"] for found in none["samplers"].values() for at in found} == {0.0}


def test_the_table_says_on_how_many_images(synthetic, problem, searches):
    figures = seen_on_test(synthetic, problem, searches, 0.0).figures(problem, searches)
    document = {"test": figures, "marks": list(marks(40)), "goal": {"boxes": {}}}
    ((heading, columns, rows),) = sections(document)
    assert "400 test images" in heading
    assert columns == ["sampler", *map(str, marks(40))]
    assert [row[0] for row in rows] == ["nsga2", "random"]
