"""Picking a point of a front."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bitfront.search.export.selection import knee_distances, pick
from bitfront.spaces import UserError


def front(rows: list[tuple[int, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["trial", "top1", "latency_ms", "size_bytes"])


FRONT = front([(3, 60.0, 1.0, 100.0), (7, 95.0, 1.5, 150.0), (9, 96.0, 3.0, 300.0), (12, 97.0, 4.0, 400.0)])


def test_knee_is_the_bend() -> None:
    assert pick(FRONT, "knee")["trial"] == 7


def test_knee_agrees_with_the_formula() -> None:
    errors, costs = np.log([40.0, 5.0, 4.0, 3.0]), np.log([1.0, 1.5, 3.0, 4.0])
    error = (errors - errors.min()) / np.ptp(errors)
    cost = (costs - costs.min()) / np.ptp(costs)
    expected = np.sqrt(error**2 + cost**2)
    assert knee_distances(FRONT, ["top1", "latency", "size"]) == pytest.approx(expected)


def test_knee_does_not_depend_on_units() -> None:
    scaled = FRONT.assign(latency_ms=FRONT["latency_ms"] * 1000, size_bytes=FRONT["size_bytes"] / 7)
    every = ["top1", "latency", "size"]
    assert knee_distances(scaled, every) == pytest.approx(knee_distances(FRONT, every))


def test_a_collapsed_model_does_not_pull_the_knee_down() -> None:
    collapsed = front(
        [(1, 10.0, 0.9, 90.0), (2, 70.0, 1.0, 100.0), (3, 97.0, 1.2, 120.0), (4, 97.2, 2.0, 200.0)]
    )
    assert pick(collapsed, "knee")["trial"] == 3


@pytest.mark.parametrize(("choice", "trial"), [("top1", 12), ("latency", 3), ("size", 3), ("9", 9)])
def test_extremes_and_trials(choice: str, trial: int) -> None:
    assert pick(FRONT, choice)["trial"] == trial


def test_ties_go_to_the_better_compromise() -> None:
    tied = front([(1, 97.0, 4.0, 400.0), (2, 97.0, 3.0, 300.0), (3, 60.0, 1.0, 100.0)])
    assert pick(tied, "top1")["trial"] == 2


def test_single_point_is_everything() -> None:
    single = FRONT.iloc[[2]]
    assert {int(pick(single, choice)["trial"]) for choice in ("knee", "top1", "latency", "size", "9")} == {9}


def test_two_points_give_the_more_accurate_knee() -> None:
    assert pick(front([(1, 60.0, 1.0, 100.0), (2, 97.0, 2.0, 200.0)]), "knee")["trial"] == 2


def test_constant_axis_adds_nothing() -> None:
    flat = FRONT.assign(size_bytes=5.0)
    assert knee_distances(flat, ["top1", "size"]) == pytest.approx(knee_distances(FRONT, ["top1"]))


def test_missing_values_lose_and_missing_columns_are_ignored() -> None:
    partial = FRONT.assign(latency_ms=[1.0, np.nan, 3.0, 4.0])
    assert pick(partial, "knee")["trial"] != 7
    assert pick(FRONT.assign(latency_ms=np.nan), "knee", ("top1", "latency", "size", "kl"))["trial"] == 7


def test_perfect_accuracy_is_finite() -> None:
    assert np.isfinite(knee_distances(FRONT.assign(top1=[60.0, 99.0, 99.5, 100.0]), ["top1", "size"])).all()


def test_unknown_choices_list_the_trials() -> None:
    for choice in ("best", "4", "-3", "3.0"):
        with pytest.raises(UserError, match="3, 7, 9, 12"):
            pick(FRONT, choice)


def test_unmeasured_objective_is_refused() -> None:
    with pytest.raises(UserError, match="has no latency"):
        pick(FRONT.assign(latency_ms=np.nan), "latency")


def test_empty_front_is_refused() -> None:
    with pytest.raises(UserError, match="front is empty"):
        pick(FRONT.iloc[:0], "knee")
