"""A front narrowed to limits: which points are left, and what is said where none is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from bitfront.evaluators.tasks.quality import standard_error
from bitfront.search.export.evidence import posterior_of
from bitfront.search.export.limited_front import broken_sizes, narrowed, told_larger, violations
from bitfront.search.export.selection import chosen_row, default_choice, shortlist_of
from bitfront.search.problem.limits import Limit
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.session.run import Run, open_run
from bitfront.spaces import UserError


@pytest.fixture(scope="module")
def run(runs_dir: Path) -> Run:
    return open_run("digits-1", runs_dir=runs_dir)


def with_estimates(run: Run) -> Run:
    """The run as present versions write it: with estimates and all counts."""
    error = np.linspace(0.1, 0.6, len(run.front))
    front = run.front.assign(top1_estimate=run.front["top1"] - 0.2, top1_estimate_error=error)
    trials = run.trials.assign(images=899.0, expected_difference=run.trials["top1"] - 98.9)
    return dataclasses.replace(run, front=front, trials=trials)


def test_absolute_and_relative_limits_of_costs(run: Run) -> None:
    for limit in ("900kB", f"{900_000 / 5_360_000!r}x"):
        found = run.within(max_size=limit)
        kept = run.front[run.front["size_bytes"] <= 900_000]
        assert 0 < len(kept) < len(run.front)
        assert found.front["trial"].tolist() == kept["trial"].tolist()
    both = run.within(max_size="900kB", max_latency="0.6x").front
    assert (both["latency_ms"] <= 2.94).all()
    assert (both["size_bytes"] <= 900_000).all()
    assert run.within(max_size="900kB").within(max_latency="0.6x").front.equals(both)


def test_the_best_within_a_limit_and_the_smallest_within_a_drop(run: Run) -> None:
    small, good = run.within(max_size="900kB"), run.within(max_drop=2)
    rows = run.front
    assert small.pick("top1")["top1"] == rows[rows["size_bytes"] <= 900_000]["top1"].max()
    assert good.pick("size")["size_bytes"] == rows[rows["top1"] >= 98.9 - 2]["size_bytes"].min()
    assert run.within(max_drop="top1=2").front.equals(good.front)
    assert run.within(max_metric="loss=0.1").front.equals(rows[rows["loss"] <= 0.1].reset_index(drop=True))


def test_shortlist_and_star_are_those_of_what_is_left(run: Run) -> None:
    found = run.within(max_size="900kB")
    left = dataclasses.replace(run, front=found.front)
    assert found.knee == left.knee
    assert shortlist_of(found) == shortlist_of(left)
    assert set(found.shortlist["trial"]) <= set(found.front["trial"])
    assert found.config("top1").digest == found.pick("top1")["digest"]


def test_the_star_may_be_worse_by_the_drop_that_is_accepted(run: Run) -> None:
    star = default_choice(run.within(max_drop=4))
    assert star is not None
    assert star.drop == 4.0
    assert default_choice(run).drop == 0.5  # type: ignore[union-attr]


def test_nearest_is_what_leaves_least_of_a_limit(run: Run) -> None:
    found = run.within(max_size="900kB")
    assert found.pick("nearest")["size_bytes"] == found.front["size_bytes"].max()
    assert run.within(min_top1=90).pick("nearest")["top1"] == run.front["top1"][lambda x: x >= 90].min()
    with pytest.raises(UserError, match="--pick nearest needs a limit"):
        run.pick("nearest")


def test_an_empty_result_names_the_nearest_point(run: Run) -> None:
    least = run.front.loc[run.front["size_bytes"].idxmin()]
    with pytest.raises(UserError, match="no point of run digits-1 is within --max-size 300kB") as raised:
        run.within(max_size="300kB")
    message = str(raised.value)
    assert f"the nearest is trial {least['trial']} with {least['size_bytes']:,.0f} bytes" in message
    assert "(--max-size 300kB is 300,000 bytes)" in message
    assert f"--pick {least['trial']}" in message
    assert "\n" not in message


def test_of_several_limits_the_furthest_counts(run: Run) -> None:
    with pytest.raises(UserError) as raised:
        run.within(max_size="700kB", min_top1=98)
    excess = np.maximum(run.front["size_bytes"] / 700_000 - 1, 1 - run.front["top1"] / 98)
    assert f"the nearest is trial {run.front['trial'][excess.idxmin()]} with" in str(raised.value)


def test_a_trial_outside_is_not_on_the_narrowed_front(run: Run) -> None:
    largest = int(run.front.loc[run.front["size_bytes"].idxmax(), "trial"])
    with pytest.raises(UserError, match=f"trial {largest} is not on the front within --max-size 900kB"):
        run.within(max_size="900kB").pick(largest)


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"max_size": "3"}, "is not a limit"),
        ({"max_drop": -1}, "cannot be met"),
        ({"min_metric": "macro_f1=70"}, "has no macro_f1: search with --metrics macro_f1"),
        ({"min_metric": "loss=0.1"}, "smaller values"),
        ({"max_size": "1MB", "confidence": 0.3}, "--confidence 0.3 cannot be used"),
    ],
)
def test_mistakes(run: Run, asked: dict[str, object], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        narrowed(run, asked)


def test_a_relative_limit_needs_the_float_model(run: Run) -> None:
    bare = dataclasses.replace(run, references=())
    assert len(bare.within(max_size="900kB").front)
    with pytest.raises(UserError, match="moves with the float model's size_bytes"):
        bare.within(max_size="0.2x")


def test_nothing_is_narrowed_without_limits_or_a_front(run: Run) -> None:
    assert run.within() is run
    empty = dataclasses.replace(run, front=run.front.iloc[:0])
    assert empty.within(max_size="1kB") is empty


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_shares_are_compared_with_what_they_hold_to(run: Run, confidence: float | None) -> None:
    estimated = with_estimates(run)
    found = posterior_of(estimated)
    assert found is not None
    noise = found[0].noise[found[1]]
    variance = estimated.front["top1_estimate_error"].to_numpy() ** 2 + noise**2 / 450
    splits = standard_error(98.9, 899) ** 2 + standard_error(98.9, 450) ** 2
    z = NormalDist().inv_cdf(confidence or 0.8)
    estimates = estimated.front["top1_estimate"].to_numpy()
    drop = estimates - z * np.sqrt(variance) >= 98.9 - 1.2
    share = estimates - z * np.sqrt(variance + splits) >= 95
    assert 0 < drop.sum() < len(drop)
    assert drop.sum() < (estimates >= 98.9 - 1.2).sum()
    trials = estimated.front["trial"]
    kept = estimated.within(max_drop=1.2, confidence=confidence).front["trial"]
    assert kept.tolist() == trials[drop].tolist()
    kept = estimated.within(min_top1=95, confidence=confidence).front["trial"]
    assert kept.tolist() == trials[share].tolist()


def test_runs_without_all_counts_are_judged_by_their_estimates(run: Run) -> None:
    front = run.front.assign(top1_estimate=run.front["top1"] - 0.2, top1_estimate_error=0.1)
    bare = dataclasses.replace(run, front=front)
    kept = bare.within(max_drop=3).front
    assert kept["trial"].tolist() == front[front["top1_estimate"] >= 98.9 - 3]["trial"].tolist()


def test_runs_of_earlier_versions_can_be_narrowed(tmp_path: Path, run_folder: Callable[..., Path]) -> None:
    run_folder(tmp_path, name="old", count=60, encoders=2, paired=False, recorded=False)
    old = RecordedRun.read(tmp_path, "old")
    found = narrowed(old, {"max_drop": 10, "max_size": "0.9x"})
    assert 0 < len(found.front) <= len(old.front)
    assert chosen_row(found, "star")["trial"] in set(found.front["trial"])
    assert [limit.origin for limit in found.narrowed] == ["--max-size 0.9x", "--max-drop 10"]


def test_violations_are_shares_of_the_limit(run: Run) -> None:
    limit = Limit("max_size", "size_bytes", "at most", 1e6, "--max-size 1MB", "bytes")
    excess, _ = violations(dataclasses.replace(run, narrowed=(limit,)))
    assert excess[:, 0] == pytest.approx(run.front["size_bytes"] / 1e6 - 1)


def test_files_that_are_larger_than_what_was_bounded_are_told(run: Run) -> None:
    found = run.within(max_size="900kB")
    [limit] = broken_sizes(found, 900_001, 850_000)
    assert told_larger(found, limit, ["model.xml", "model.bin"], 900_001) == (
        "model.xml and model.bin take 0.9 MB, more than --max-size 900kB, which run digits-1 held by the "
        "size of packed files"
    )
    assert broken_sizes(found, 700_001, 850_000) == []
    assert broken_sizes(run, 900_001, 850_000) == []
    assert broken_sizes(found, 900_001, None) == []
