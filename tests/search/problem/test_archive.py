"""The archive and the hypervolume, against brute force."""

import dataclasses
import math
from itertools import permutations

import numpy as np
import pytest

from bitfront.search.problem.archive import Archive, dominates
from bitfront.search.problem.hypervolume import HypervolumeBox, hypervolume_history
from bitfront.search.problem.objectives import parse_objectives
from bitfront.search.problem.references import Reference, References
from bitfront.search.problem.trial import Trial

OBJECTIVES = parse_objectives("top1,latency,size")
BOX = HypervolumeBox(("top1", "latency", "size"), (-100.0, 1.0, 10.0), (0.0, 9.0, 50.0))


def trial(number, top1, latency, size, state="complete", violation=0.0, digest=None):
    values = {"latency_ms": latency, "size_bytes": size} | ({"top1": top1} if top1 is not None else {})
    return Trial(number, digest or f"d{number}", (number,), state, values, {"max_size": violation})


def random_trials(count, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers((40, 1, 10), (99, 9, 50), size=(count, 3))
    return [trial(i, *map(float, row), violation=float(rng.random() < 0.2)) for i, row in enumerate(rows)]


def brute_front(trials):
    points = {t.number: (-t.values["top1"], t.values["latency_ms"], t.values["size_bytes"]) for t in trials}
    front, seen = [], set()
    for t in trials:
        p = points[t.number]
        beaten = any(
            all(a <= b for a, b in zip(points[o.number], p, strict=True)) and points[o.number] != p
            for o in trials
            if o.feasible
        )
        if t.feasible and not beaten and p not in seen:
            seen.add(p)
            front.append(t.number)
    return set(front)


@pytest.mark.parametrize("seed", range(5))
def test_front_is_that_of_brute_force_in_any_order(seed):
    trials = random_trials(80, seed)
    expected = brute_front(trials)
    shuffled = [trials[i] for i in np.random.default_rng(seed).permutation(len(trials))]
    for order in (trials, shuffled):
        front = Archive(OBJECTIVES, order).front
        assert {t.number for t in front} == expected
        sizes = [t.values["size_bytes"] for t in front]
        assert sizes == sorted(sizes)


def test_of_equal_points_the_first_asked_for_stays():
    same = [trial(i, 90.0, 2.0, 20.0) for i in range(3)]
    for order in permutations(same):
        assert [t.number for t in Archive(OBJECTIVES, order).front] == [0]


def within(a, b, slack):
    """Whether a point is at least as good as another where costs are within tolerances."""
    return all(x <= y * factor for x, y, factor in zip(a, b, (1.0, *slack), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_tolerances_of_nothing_are_none(seed):
    trials = random_trials(80, seed)
    nothing = Archive(OBJECTIVES, trials, tolerances={"latency_ms": 0.0, "size_bytes": 0.0})
    assert {t.number for t in nothing.front} == brute_front(trials)


@pytest.mark.parametrize("seed", range(5))
def test_costs_within_their_noise_keep_no_worse_point(seed):
    rng = np.random.default_rng(seed)
    trials = [
        trial(i, rng.uniform(60, 80), rng.choice([1.0, 2.0]) * rng.normal(1.0, 0.01), rng.uniform(20, 40))
        for i in range(80)
    ]
    slack = (1.02, 1.001)
    archive = Archive(OBJECTIVES, trials, tolerances={"latency_ms": 0.02, "size_bytes": 0.001})
    points, exact = archive.front_points, Archive(OBJECTIVES, trials).front
    assert not any(within(a, b, slack) for a in points for b in points if a != b), "no front point is spare"
    assert {t.number for t in archive.front} < {t.number for t in exact}
    for other in exact:
        point = (-other.values["top1"], other.values["latency_ms"], other.values["size_bytes"])
        assert any(within(a, point, slack) for a in points), "one stands for each that is left out"
    shuffled = [trials[i] for i in rng.permutation(len(trials))]
    again = Archive(OBJECTIVES, shuffled, tolerances={"latency_ms": 0.02, "size_bytes": 0.001})
    assert again.front_points == points


def test_a_chain_of_near_points_does_not_collapse():
    """Each is within the tolerance of the next one alone."""
    chain = [trial(i, 90.0 - 0.1 * i, 2.0, 20.0 * 0.9991**i) for i in range(20)]
    found = Archive(OBJECTIVES, chain, tolerances={"size_bytes": 0.001}).front
    assert [t.number for t in found] == list(range(18, -1, -2)), "every second one stands for its neighbour"
    assert len(Archive(OBJECTIVES, chain).front) == 20


def test_quality_has_no_tolerance():
    trials = [trial(0, 90.0, 2.0, 20.0), trial(1, 90.001, 2.1, 20.0)]
    archive = Archive(OBJECTIVES, trials, tolerances={"latency_ms": 0.01, "top1": 0.5})
    assert [t.number for t in archive.front] == [0, 1]


class Averaging:
    """A judge: every estimate is the mean of what was measured of all."""

    def __init__(self):
        self.taken = []

    def add(self, known):
        self.taken.append(known.number)

    def judged(self, trials):
        found = list(trials)
        mean = float(np.mean([t.values["top1"] for t in found]))
        return [dataclasses.replace(t, values={**t.values, "top1_estimate": mean}) for t in found]


def test_a_judge_sees_each_trial_once_and_its_estimates_decide():
    judge = Averaging()
    archive = Archive(OBJECTIVES, judge=judge)
    for known in (trial(0, 90.0, 3.0, 30.0), trial(1, 80.0, 2.0, 20.0), trial(0, 10.0, 1.0, 1.0)):
        archive.add(known)
    assert judge.taken == [0, 1]
    assert [t.number for t in archive.front] == [1], "as good as the other one, and cheaper"
    assert archive.get("d0").values.keys() == {"top1", "latency_ms", "size_bytes"}
    assert archive.judged("d0").values["top1_estimate"] == 85.0
    assert archive.front_points_of(1) == ((-85.0, 3.0, 30.0),), "by what is known now"
    archive.add(trial(2, 40.0, 4.0, 15.0))
    assert archive.judged("d0").values["top1_estimate"] == 70.0


def test_missing_failed_rejected_and_infeasible_are_never_on_the_front():
    archive = Archive(OBJECTIVES)
    archive.add(trial(0, math.nan, 1.0, 10.0))
    assert not archive.add(trial(1, None, 1.0, 10.0, state="failed"))
    assert not archive.add(trial(2, None, 1.0, 10.0, state="rejected"))
    archive.add(trial(3, 99.0, 1.0, 10.0, violation=0.01))
    assert archive.front == ()
    assert archive.evaluations == 3
    assert archive.add(trial(4, 10.0, 8.0, 40.0))


def test_a_known_configuration_changes_nothing():
    archive = Archive(OBJECTIVES, [trial(0, 50.0, 2.0, 20.0, digest="x")])
    assert not archive.add(trial(1, 99.0, 1.0, 10.0, digest="x"))
    assert len(archive) == 1
    assert archive.get("x").number == 0


def test_dominance_needs_one_better_value():
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((0.0, 3.0), (1.0, 2.0))


@pytest.mark.parametrize("seed", range(3))
def test_hypervolume_agrees_with_a_count_of_cells(seed):
    """Integer points in a box of integer cells: the dominated cells can be counted."""
    trials = random_trials(40, seed)
    archive = Archive(OBJECTIVES, trials)
    axes = np.meshgrid(np.arange(-100, 0), np.arange(1, 9), np.arange(10, 50), indexing="ij")
    dominated = np.zeros(axes[0].shape, dtype=bool)
    for top1, latency, size in archive.front_points:
        dominated |= (axes[0] >= top1) & (axes[1] >= latency) & (axes[2] >= size)
    assert BOX.share(archive.front_points) == pytest.approx(dominated.mean(), abs=1e-12)


def test_hypervolume_of_corners():
    assert BOX.share([]) == 0.0
    assert BOX.share([BOX.reference]) == 0.0
    assert BOX.share([BOX.ideal]) == pytest.approx(1.0)
    assert BOX.share([(-50.0, 5.0, 30.0)]) == pytest.approx(0.125)
    assert BOX.share([(-90.0, 10.0, 20.0)]) == 0.0, "slower than the reference counts nothing"
    assert BOX.share([(-100.0, 0.5, 5.0)]) == pytest.approx(1.0), "beyond the ideal counts as the ideal"


def test_the_box_is_fixed_by_references_alone():
    references = References(Reference("float32", 20.0, 400, classes=10), Reference("W8A8T8", 12.0, 100))
    minima = {"latency_ms": 5.0, "size_bytes": 60.0}
    box = HypervolumeBox.fixed(parse_objectives("top1,latency,size,kl"), references, minima, 100.0)
    assert box.ideal == (-100.0, 5.0, 60.0, 0.0)
    assert box.reference == pytest.approx((0.0, 20.0, 100.0, math.log(10)))


def test_history_rises_with_the_evaluations():
    trials = [*random_trials(30, 1), trial(30, None, 1.0, 10.0, state="rejected")]
    history = hypervolume_history(reversed(trials), OBJECTIVES, BOX)
    assert [n for n, _ in history] == list(range(1, 31))
    shares = [share for _, share in history]
    assert shares == sorted(shares)
    assert shares[-1] == BOX.share(Archive(OBJECTIVES, trials).front_points)
