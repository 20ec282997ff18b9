"""Weights over objectives: how they are read, and which point they choose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bitfront.search.export.selection import choice_text, pick
from bitfront.search.export.weights import read_weights, shortfalls, weights_text
from bitfront.spaces import UserError

NAMES = ("top1", "latency", "size")
# No mixture of the others is as good as trial 2, but it lies behind the line between them: not convex.
FRONT = pd.DataFrame(
    [(1, 90.0, 1.0, 100.0), (2, 93.0, 1.7, 170.0), (3, 100.0, 2.0, 200.0)],
    columns=["trial", "top1", "latency_ms", "size_bytes"],
)


def chosen(choice: object, front: pd.DataFrame = FRONT) -> int:
    return int(pick(front, choice_text(choice), NAMES)["trial"])


def test_weights_are_scaled_to_a_sum_of_one() -> None:
    assert read_weights("top1=3, size=1", NAMES) == {"top1": 0.75, "size": 0.25}
    assert read_weights(weights_text({"top1": 3, "size": 1}), NAMES) == {"top1": 0.75, "size": 0.25}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("top1=x", "the weight of top1 is no number"),
        ("top1=-1", "the weight of top1 is no number"),
        ("top1=inf", "the weight of top1 is no number"),
        ("top1=1,top1=2", "weighted twice"),
        ("top1=0,size=0", "no weight is above 0"),
        ("speed=1", "'speed' is none of top1, latency, size"),
        ("size", "'size' is none"),
        ("top1=1,", "'' is none"),
    ],
)
def test_mistakes_say_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as raised:
        read_weights(text, NAMES)
    assert "top1=2,size=1" in str(raised.value)


def test_shortfalls_are_those_of_the_definition() -> None:
    values, weights = np.array([[0.0, 10.0], [2.0, 4.0], [8.0, 0.0]]), np.array([0.25, 0.75])
    scaled = np.array([[0.0, 1.0], [0.25, 0.4], [1.0, 0.0]])
    largest, total = shortfalls(values, weights)
    assert largest == pytest.approx(np.max(weights * scaled, axis=1))
    assert total == pytest.approx(scaled @ weights)


def test_what_is_missing_or_the_same_everywhere() -> None:
    largest, _ = shortfalls(np.array([[1.0, 5.0], [np.nan, 5.0]]), np.array([0.5, 0.5]))
    assert largest.tolist() == [0.0, np.inf]


@pytest.mark.parametrize(
    ("weights", "trial"),
    [
        ({"top1": 1}, 3),
        ({"size": 1}, 1),
        ({"size": 1, "top1": 0}, 1),
        ({"top1": 10, "size": 1, "latency": 1}, 3),
        ({"top1": 1, "size": 10}, 1),
        ({"top1": 1, "size": 1}, 2),
    ],
)
def test_every_point_can_be_reached_also_where_the_front_is_not_convex(
    weights: dict[str, float], trial: int
) -> None:
    assert chosen(weights) == trial


def test_units_do_not_count() -> None:
    scaled = FRONT.assign(size_bytes=FRONT["size_bytes"] / 1e6, latency_ms=FRONT["latency_ms"] * 1e3)
    for weights in ({"top1": 1, "size": 1}, {"top1": 3, "latency": 2}, {"top1": 1, "size": 2}):
        assert chosen(weights, scaled) == chosen(weights)


def test_of_equally_far_points_the_one_that_is_less_behind_in_all() -> None:
    # Both are furthest behind in size, trial 8 is better in latency.
    tied = pd.DataFrame(
        [(7, 100.0, 2.0, 200.0), (8, 100.0, 1.5, 200.0), (9, 0.0, 1.0, 100.0)], columns=FRONT.columns
    )
    assert chosen({"size": 1, "latency": 0.5, "top1": 2}, tied) == 8


def test_estimates_decide_where_there_are_some() -> None:
    assert chosen({"top1": 1}, FRONT.assign(top1_estimate=[90.0, 99.0, 98.0])) == 2
