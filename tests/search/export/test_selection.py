"""Picking a point of a front."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.estimation.differences import Differences
from bitfront.search.export.evidence import Evidence, evidence_of
from bitfront.search.export.selection import (
    cheapest_not_worse,
    chosen_row,
    compromise_distances,
    default_choice,
    pick,
    shortlist_of,
    standing,
)
from bitfront.search.runs.reader import RecordedRun
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
    assert compromise_distances(FRONT, ["top1", "latency", "size"]) == pytest.approx(expected)


def test_knee_does_not_depend_on_units() -> None:
    scaled = FRONT.assign(latency_ms=FRONT["latency_ms"] * 1000, size_bytes=FRONT["size_bytes"] / 7)
    every = ["top1", "latency", "size"]
    assert compromise_distances(scaled, every) == pytest.approx(compromise_distances(FRONT, every))


def test_a_collapsed_model_does_not_pull_the_knee_down() -> None:
    collapsed = front(
        [(1, 10.0, 0.9, 90.0), (2, 70.0, 1.0, 100.0), (3, 97.0, 1.2, 120.0), (4, 97.2, 2.0, 200.0)]
    )
    assert pick(collapsed, "knee")["trial"] == 3


@pytest.mark.parametrize(("choice", "trial"), [("top1", 12), ("latency", 3), ("size", 3), ("9", 9)])
def test_extremes_and_trials(choice: str, trial: int) -> None:
    assert pick(FRONT, choice)["trial"] == trial


def test_the_best_is_that_of_the_estimates_where_there_are_some() -> None:
    estimated = FRONT.assign(top1_estimate=[60.0, 95.5, np.nan, 95.9])
    assert pick(estimated, "top1")["trial"] == 9
    assert pick(FRONT.assign(top1_estimate=[60.0, 97.5, 96.0, 95.9]), "top1")["trial"] == 7


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
    assert compromise_distances(flat, ["top1", "size"]) == pytest.approx(
        compromise_distances(FRONT, ["top1"])
    )


def test_missing_values_lose_and_missing_columns_are_ignored() -> None:
    partial = FRONT.assign(latency_ms=[1.0, np.nan, 3.0, 4.0])
    assert pick(partial, "knee")["trial"] != 7
    assert pick(FRONT.assign(latency_ms=np.nan), "knee", ("top1", "latency", "size", "kl"))["trial"] == 7


def test_perfect_accuracy_is_finite() -> None:
    assert np.isfinite(
        compromise_distances(FRONT.assign(top1=[60.0, 99.0, 99.5, 100.0]), ["top1", "size"])
    ).all()


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


def evidence(
    quality: list[float],
    errors: list[float],
    costs: list[list[float]],
    tolerances: tuple[float, ...] = (),
    drop: float = 0.5,
) -> Evidence:
    values, spread = np.array(quality), np.array(errors)
    differences = Differences.of_estimates(values, spread)
    costs_of = np.array(costs, dtype=float)
    return Evidence(np.arange(len(quality)), values, spread, differences, costs_of, tolerances, drop)


COSTS = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_the_default_is_the_cheapest_point_that_is_not_shown_to_be_worse_by_more_than_the_drop() -> None:
    # 3 points worse with an error of 1.8: as much as 0.04 worse, at the upper end of 95 %.
    loose = evidence([70.0, 72.5, 73.0], [1.8, 0.1, 0.1], COSTS)
    assert cheapest_not_worse(loose) == (0, 2)
    assert cheapest_not_worse(evidence([70.0, 72.5, 73.0], [1.0, 0.1, 0.1], COSTS)) == (1, 2)
    assert cheapest_not_worse(evidence([70.0, 72.0, 73.0], [0.1, 0.1, 0.1], COSTS)) == (2, 2)


def test_a_larger_drop_allows_a_cheaper_default() -> None:
    quality, errors = [70.0, 72.0, 73.0], [0.1, 0.1, 0.1]
    found = [cheapest_not_worse(evidence(quality, errors, COSTS, drop=drop))[0] for drop in (0.0, 1.0, 3.0)]
    assert found == [2, 1, 0]


def test_ratios_of_all_costs_count_and_negligible_ones_do_not() -> None:
    costs = [[1.00, 4.0], [1.02, 3.9], [3.0, 1.0]]
    assert cheapest_not_worse(evidence([70.0, 70.1, 70.2], [1.0] * 3, costs))[0] == 2
    for size, expected in ((1.0005, 1), (1.0020, 0)):
        assert cheapest_not_worse(evidence([70.0, 70.1], [1.0] * 2, [[1.0, 1.0], [1.0, size]]))[0] == expected


def test_a_slower_point_is_no_default_because_latencies_are_noisy() -> None:
    noisy = evidence([70.0, 71.1], [1.0] * 2, [[19.1, 1.0], [22.0, 1.0]], tolerances=(0.3, 0.001))
    assert cheapest_not_worse(noisy) == (0, 1)


def test_a_run_stars_its_cheapest_point_that_is_not_shown_to_be_worse(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    star = default_choice(run)
    assert star is not None
    rows = run.front.set_index("trial")
    counts = run.trials.set_index("trial")
    assert star.best == rows["top1"].idxmax()

    def upper(trial: int) -> float:
        # Half an image more in each of the four cells.
        pairs = [PairedComparison(901, *(counts.loc[t, ["lost", "won"]] + 0.5)) for t in (trial, star.best)]
        error = np.hypot(*(pair.difference_standard_error for pair in pairs)) if trial != star.best else 0.0
        return float(rows.loc[trial, "top1"] - rows.loc[star.best, "top1"] + 1.645 * error)

    allowed = [trial for trial in rows.index if upper(trial) >= -0.5]
    product = rows["latency_ms"] * rows["size_bytes"]
    assert star.trial == product[allowed].idxmin()
    assert chosen_row(run, "knee")["trial"] == star.trial


def test_fronts_without_errors_or_quality_star_the_compromise(
    tmp_path: Path, run_folder: Callable[..., Path]
) -> None:
    run_folder(tmp_path, name="old", count=60, encoders=2, paired=False)
    run_folder(tmp_path, name="new", count=60, encoders=2)
    old, new = (RecordedRun.read(tmp_path, name) for name in ("old", "new"))
    costs = dataclasses.replace(new, spec={**new.spec, "objectives": ["latency", "size"]})
    for run in (old, costs):
        star = default_choice(run)
        assert star is not None
        assert star.best is None
        assert star.trial == pick(run.front, "knee", run.objectives)["trial"]


def test_a_shortlist_accounts_for_every_point_and_has_the_star(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    listed, star = shortlist_of(run), default_choice(run)
    assert star is not None
    assert star.trial in listed
    assert len(listed) <= 8
    assert sorted(standing(listed)) == sorted(run.front["trial"])
    assert sum(1 + len(point.alike) + len(point.near) for point in listed.values()) == len(run.front)
    rows = run.front.set_index("trial")
    found = evidence_of(run)
    alike = dict(zip(found.trials.tolist(), found.differences.alike(), strict=True))
    for point in listed.values():
        for trial in point.alike:
            assert rows.loc[point.trial, "latency_ms"] <= rows.loc[trial, "latency_ms"]
            assert rows.loc[point.trial, "size_bytes"] <= rows.loc[trial, "size_bytes"] * 1.001
            told_apart = not alike[point.trial][found.trials.tolist().index(trial)]
            assert not told_apart or rows.loc[point.trial, "top1"] >= rows.loc[trial, "top1"]


def test_an_empty_front_has_no_shortlist(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    empty = dataclasses.replace(run, front=run.front.iloc[:0])
    assert shortlist_of(empty) == {}
    assert default_choice(empty) is None
