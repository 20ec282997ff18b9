"""Shortlists: which points really differ, and which one stands for each of the others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bitfront.search.estimation.shortlist import MOST_LISTED, Shortlist, shortlist

APART = np.zeros((3, 3), dtype=bool)
ALIKE = np.ones((3, 3), dtype=bool)


def listed(quality: list[float], costs: list[list[float]], alike: np.ndarray, **how: object) -> Shortlist:
    return shortlist(np.array(quality), np.array(costs, dtype=float), alike, **how)


def test_of_alike_points_the_cheapest_is_listed() -> None:
    found = listed([70.0, 70.4, 70.8], [[1, 10], [2, 20], [3, 30]], ALIKE)
    assert found.listed == (0,)
    assert found.stands_for.tolist() == [0, 0, 0]
    assert found.behind(0).tolist() == [1, 2]
    assert not found.spared.any()


def test_points_that_a_test_tells_apart_are_all_listed() -> None:
    assert listed([70.0, 72.0, 74.0], [[1, 10], [2, 20], [3, 30]], APART).listed == (0, 1, 2)


def test_alike_points_whose_costs_trade_off_are_both_listed() -> None:
    assert listed([70.0, 70.4, 70.8], [[1, 30], [2, 20], [3, 10]], ALIKE).listed == (0, 1, 2)


def test_each_point_is_alike_the_one_that_stands_for_it() -> None:
    # 1 is alike both others, which differ: it may not carry 2 over to 0.
    alike = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)
    found = listed([70.0, 71.0, 72.0], [[1], [2], [3]], alike)
    assert found.listed == (0, 2)
    assert found.stands_for.tolist() == [0, 0, 2]


def test_of_alike_points_whose_costs_differ_by_noise_the_cheaper_is_listed() -> None:
    costs = [[1.20, 99.95], [1.00, 100.0]]
    alike = np.ones((2, 2), dtype=bool)
    assert listed([71.0, 70.0], costs, alike).listed == (0, 1)
    found = listed([71.0, 70.0], costs, alike, tolerances=(0.3, 0.001))
    assert (found.listed, found.stands_for.tolist()) == ((1,), [1, 1])


def test_of_alike_points_that_cost_the_same_the_better_is_listed() -> None:
    costs = [[1.0000, 100.0], [1.0005, 100.05]]
    found = listed([70.0, 71.0], costs, np.ones((2, 2), dtype=bool), tolerances=(0.001, 0.001))
    assert (found.listed, found.stands_for.tolist()) == ((1,), [1, 1])


def test_a_better_point_that_costs_as_much_replaces_one_that_differs() -> None:
    found = listed([70.0, 75.0], [[1.000], [1.0005]], np.eye(2, dtype=bool), tolerances=(0.001,))
    assert found.listed == (1,)


def test_what_is_kept_is_listed() -> None:
    found = listed([70.0, 70.4, 70.8], [[1], [2], [3]], ALIKE, keep=[2])
    assert found.listed == (0, 2)
    with pytest.raises(ValueError, match="cannot be kept"):
        listed([70.0, 70.4, 70.8], [[1], [2], [3]], ALIKE, count=1, keep=[0, 2])


def many(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    costs = rng.uniform(1.0, 4.0, (count, 2))
    return np.log(costs).sum(axis=1), costs


def test_a_long_list_is_cut_to_the_points_that_dominate_most() -> None:
    quality, costs = many()
    found = shortlist(quality, costs, np.eye(60, dtype=bool))
    assert len(found.listed) == MOST_LISTED
    assert found.spared.sum() == 60 - MOST_LISTED
    assert set(found.stands_for.tolist()) == set(found.listed)


def test_a_cut_list_is_as_good_as_the_best_one_but_for_what_greed_loses() -> None:
    from moocore import hypervolume

    quality, costs = (part[:10] for part in many())
    axes = np.column_stack([-quality, np.log(costs)])
    unit = (axes - axes.min(axis=0)) / np.ptp(axes, axis=0)

    def volume(chosen: tuple[int, ...]) -> float:
        return float(hypervolume(unit[list(chosen)], ref=[1.1, 1.1, 1.1]))

    found = shortlist(quality, costs, np.eye(10, dtype=bool), count=4)
    best = max(itertools.combinations(range(10), 4), key=volume)
    assert volume(found.listed) >= 0.95 * volume(best)


def test_points_that_were_spared_stand_behind_the_nearest_listed_one() -> None:
    found = listed([1.0, 2.0, 2.02, 3.0], [[1], [2], [2.02], [3]], np.eye(4, dtype=bool), count=3)
    assert len(found.listed) == 3
    [spared] = np.flatnonzero(found.spared)
    assert {int(spared), int(found.stands_for[spared])} == {1, 2}


def test_no_point_and_one_point() -> None:
    assert shortlist(np.zeros(0), np.ones((0, 2)), np.zeros((0, 0), dtype=bool)).listed == ()
    assert shortlist(np.zeros(1), np.ones((1, 2)), np.ones((1, 1), dtype=bool)).listed == (0,)


def test_a_circle_of_tolerances_ends() -> None:
    costs = np.array([[1.0, 1.5], [1.08, 1.2], [1.16, 1.0]])
    found = shortlist(np.zeros(3), costs, ALIKE, tolerances=(0.1, 0.3))
    assert len(found.listed) >= 1
    assert set(found.stands_for.tolist()) <= set(found.listed)
