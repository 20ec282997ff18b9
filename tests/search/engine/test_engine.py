"""The search engine: same seed same trials, budgets, constraints, failures, resuming, messages."""

import csv
import dataclasses
import errno
import json
import math
import os

import numpy as np
import pytest

from bitfront.evaluators.tasks.quality import Quality, packed
from bitfront.search.engine.engine import (
    BARREN,
    EVALUATIONS_SPENT,
    EXHAUSTED,
    NONE_WITHIN_LIMITS,
    TIME_SPENT,
    WITHIN_LIMITS,
    SearchEngine,
)
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.result import nothing_feasible
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.archive import dominates, objective_point
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure, Trial
from bitfront.search.reports.front_rows import failure_notes
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.study import StudyRecord
from bitfront.search.runs.tables import FinalMeasurement, RunTables
from bitfront.search.samplers.registry import make_sampler
from bitfront.spaces import BitfrontError, UserError

# What the shortlist makes of a finished front.
LISTED = ("listed", "stands_for")
SPEC = RunSpec(sampler="nsga2", evaluations=60, population=16)


def rows(folder, name):
    with (folder.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


class Reversed:
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
        try:
            return key, self.evaluate(config)
        except RuntimeError as error:
            return key, EvaluationFailure.of(error)

    def close(self):
        self.waiting.clear()


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_same_seed_same_trials_whatever_the_order_of_completion(synthetic, tmp_path, sampler):
    spec, store = dataclasses.replace(SPEC, sampler=sampler), RunStore(tmp_path)
    one = synthetic.search(store.create("a"), spec)
    other = synthetic.search(store.create("b"), spec, Reversed(synthetic.score))
    assert one.trials == other.trials
    assert (tmp_path / "a/front.csv").read_bytes() == (tmp_path / "b/front.csv").read_bytes()
    different = synthetic.search(store.create("c"), dataclasses.replace(spec, seed=1))
    assert different.trials != one.trials


def test_the_run_folder_is_complete_and_its_front_true(synthetic, folder):
    result = synthetic.search(folder, SPEC)
    assert result.reason == EVALUATIONS_SPENT
    assert result.message is None
    trials, front = rows(folder, "trials.csv"), rows(folder, "front.csv")
    assert sum(row["state"] == "complete" for row in trials) == 60
    assert [row["trial"] for row in trials] == [str(i) for i in range(len(trials))]
    assert len(front) == len(result.front) >= 8
    points = [objective_point(trial, result.problem.objectives) for trial in result.front]
    assert not any(dominates(a, b) for a in points for b in points)
    for row in front:
        same = trials[int(row["trial"])]
        assert {name: value for name, value in row.items() if name not in LISTED} == {
            name: same[name] for name in row if name not in LISTED
        }
        assert same["feasible"] == "true"
        assert all(float(v) <= 0 for name, v in same.items() if name.startswith("violation."))
    summary = json.loads((folder.path / "summary.json").read_text())
    assert summary["evaluations"] == 60
    assert summary["hypervolume"] == pytest.approx(summary["hypervolume_history"][-1][1])
    assert summary["reference_point"]["latency_ms"] == 25.0
    assert "search ended" in (folder.path / "log.txt").read_text()


def test_front_columns_are_those_of_the_contract(synthetic, folder):
    result = synthetic.search(folder, dataclasses.replace(SPEC, evaluations=16))
    first = (folder.path / "front.csv").read_text().splitlines()[0]
    contract = "trial,digest,top1,loss,latency_ms,latency_source,latency_measured_ms,size_bytes,test_top1,"
    genes = ",".join(result.problem.space.gene_names)
    assert first == f"{contract}{genes},top1_estimate,top1_estimate_error,{','.join(LISTED)}"
    point = result.front[0]
    RunTables(folder, result.problem).write(
        result.trials,
        result.front,
        {point.number: FinalMeasurement(12.5, Quality(450, {"top1": 97.25}, 7, 0, 1.0))},
    )
    row = rows(folder, "front.csv")[0]
    assert (row["latency_measured_ms"], row["test_top1"]) == ("12.5", "97.2500")
    assert row["latency_source"] == "model:synthetic"
    assert {row[name] for name in result.problem.space.gene_names} <= {"4", "8"}
    measured = rows(folder, "trials.csv")[point.number]
    assert [measured[name] for name in ("test_top1", "test_lost", "test_won")] == ["97.2500", "7", "0"]


class StopAfter:
    """Ends the process's search, as a kill would, after some evaluations."""

    def __init__(self, evaluations):
        self.evaluations = evaluations

    def __call__(self, progress, trial):
        if trial is not None and progress.evaluations == self.evaluations:
            raise SystemExit


@pytest.mark.parametrize("moment", [1, 15, 16, 17, 43])
def test_a_resumed_run_ends_in_the_same_front_and_pays_nothing_twice(synthetic, tmp_path, moment):
    store = RunStore(tmp_path)
    whole = synthetic.search(store.create("whole"), SPEC)
    cut = store.create("cut")
    with pytest.raises(SystemExit):
        synthetic.search(cut, SPEC, Reversed(synthetic.score), observers=(StopAfter(moment),))
    pool = Reversed(synthetic.score)
    resumed = synthetic.search(cut, SPEC, pool, resume=True)
    assert pool.calls == 60 - moment
    assert resumed.trials == whole.trials
    assert (tmp_path / "cut/front.csv").read_bytes() == (tmp_path / "whole/front.csv").read_bytes()


def test_a_finished_run_goes_on_with_a_larger_budget(synthetic, tmp_path):
    store, longer = RunStore(tmp_path), dataclasses.replace(SPEC, evaluations=90)
    whole = synthetic.search(store.create("whole"), longer)
    part = store.create("part")
    synthetic.search(part, SPEC)
    pool = Reversed(synthetic.score)
    assert synthetic.search(part, longer, pool, resume=True).trials == whole.trials
    assert pool.calls == 30
    assert part.read_spec() == longer


def test_limits_hold_on_the_front_and_hopeless_candidates_are_not_asked_for(synthetic, folder):
    spec = dataclasses.replace(SPEC, max_size="0.18x", max_latency="15ms", max_drop=27.0)
    result = synthetic.search(folder, spec)
    assert result.front
    for trial in result.front:
        assert trial.values["size_bytes"] <= 126_000
        assert trial.values["latency_ms"] <= 15.0
        assert trial.values["bound.max_drop"] >= 71.5
        assert trial.values["top1_estimate"] > 71.5
        assert trial.values["top1"] > trial.values["top1_estimate"] - 2 * 100 * (0.3 / 500) ** 0.5
    assert not any(trial.state == "rejected" for trial in result.trials), "candidates are repaired"
    assert sum(trial.paid for trial in result.trials) == 60


def test_uniform_configurations_are_excluded_unless_allowed(synthetic, tmp_path):
    store = RunStore(tmp_path)
    space = synthetic.space("encoder", 3)
    for name, allowed, ended in (("mixed", False, f"{WITHIN_LIMITS} (6 of 8)"), ("any", True, EXHAUSTED)):
        spec = RunSpec(population=4, allow_uniform=allowed, evaluations=100)
        result = synthetic.search(store.create(name), spec, searched=space)
        assert result.reason == ended
        assert ({(0, 0, 0), (1, 1, 1)} & {t.genome for t in result.trials if t.paid} != set()) == allowed
        assert sum(trial.paid for trial in result.trials) == (8 if allowed else 6)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_size": "80kB"}, r"--max-size 80kB .*nearest achievable value in this space is 94,400 bytes"),
        ({"max_latency": "0.3x"}, r"--max-latency 0.3x \(7.5 ms\).* 10.4 ms"),
    ],
)
def test_limits_out_of_reach_end_before_the_search(synthetic, folder, limit, message):
    with pytest.raises(UserError, match=message):
        synthetic.search(folder, dataclasses.replace(SPEC, **limit))


def test_missed_limits_are_named_with_the_nearest_value(synthetic, tmp_path):
    store = RunStore(tmp_path)
    missed = synthetic.search(store.create("one"), dataclasses.replace(SPEC, min_top1=99.0))
    best = max(
        (t.values for t in missed.trials if t.state == "complete"), key=lambda found: found["bound.min_top1"]
    )
    nearest, counted = best["bound.min_top1"], best["top1"]
    assert missed.front == ()
    assert missed.message == (
        "no configuration met the limits: --min-top1 99 asks for at least 99.00 %, "
        f"the nearest was {nearest:.2f} % at the probability asked for ({counted:.2f} % counted)"
    )
    opposed = synthetic.search(
        store.create("two"), dataclasses.replace(SPEC, evaluations=16, min_top1=90.0, max_size="98kB")
    )
    assert opposed.front == ()
    assert "--min-top1 90 asks for at least 90.00 %, the nearest was" in opposed.message


def test_limits_met_one_by_one_but_never_together(synthetic):
    limits = synthetic.problem(dataclasses.replace(SPEC, min_top1=90.0)).limits
    found = [
        {"top1": 95.0, "latency_ms": 26.0, "size_bytes": 100_000},
        {"top1": 50.0, "latency_ms": 12.0, "size_bytes": 100_000},
    ]
    trials = [
        Trial(i, str(i), (), "complete", values, {limit.name: limit.violation(values) for limit in limits})
        for i, values in enumerate(found)
    ]
    assert "the nearest is trial 0, which misses faster_than_float 26 ms" in nothing_feasible(trials, limits)


def test_failed_candidates_are_recorded_and_the_search_goes_on(synthetic, folder):
    def evaluate(config, required=None):
        if int(config.digest, 16) % 4 == 0:
            raise RuntimeError("layer 3\nsaturates")
        return synthetic.score(config)

    result = synthetic.search(folder, SPEC, InlinePool(evaluate))
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert 5 < len(failed) < 30
    assert {trial.error for trial in failed} == {"RuntimeError: layer 3 saturates"}
    assert result.progress.evaluations == 60
    assert {row["error"] for row in rows(folder, "trials.csv") if row["state"] == "failed"} == {
        "RuntimeError: layer 3 saturates"
    }


def test_a_failure_that_names_its_site_is_kept_word_for_word(synthetic, tmp_path):
    store, error = (
        RunStore(tmp_path),
        'blocks.3.attn.scores: NaN, first in image 17 ("a, b"); 4 bits are too few',
    )

    def evaluate(config, required=None):
        if int(config.digest, 16) % 4 == 0:
            raise BitfrontError(error)
        return synthetic.score(config)

    folder = store.create("named")
    result = synthetic.search(folder, SPEC, InlinePool(evaluate))
    numbers = [trial.number for trial in result.trials if trial.error == error]
    assert len(numbers) > 5
    assert numbers == [trial.number for trial in result.trials if trial.state == "failed"]
    found = [row for row in rows(folder, "trials.csv") if row["error"] == error]
    assert [int(row["trial"]) for row in found] == numbers
    assert {(row["state"], row["feasible"], row["top1"], row["lost"]) for row in found} == {
        ("failed", "false", "", "")
    }
    recorded = [{"error": error, "trials": numbers}]
    assert json.loads((folder.path / "summary.json").read_text())["failures"] == recorded
    run = RecordedRun.read(tmp_path, "named")
    assert run.failures == recorded
    assert failure_notes(run) == [f"trial {numbers[0]} and {len(numbers) - 1} more failed: {error}"]
    assert error in (folder.path / "log.txt").read_text()
    again = synthetic.search(folder, SPEC, InlinePool(synthetic.score), resume=True)
    assert again.trials == result.trials, "a failed candidate is not paid for twice"


def test_every_trial_records_what_it_lost_and_won_against_float(synthetic, folder):
    result = synthetic.search(folder, dataclasses.replace(SPEC, evaluations=16))
    for trial, row in zip(result.trials, rows(folder, "trials.csv"), strict=True):
        if trial.state == "complete":
            scored = synthetic.score(result.problem.prepare(trial.genome).config)
            assert (trial.values["lost"], trial.values["won"]) == (scored.lost, scored.won)
            assert (row["lost"], row["won"]) == (str(scored.lost), str(scored.won))
        else:
            assert (row["lost"], row["won"]) == ("", "")


def test_a_measurement_that_is_no_number_is_a_failure(synthetic, folder):
    def evaluate(config, required=None):
        odd, found = int(config.digest, 16) % 2, synthetic.score(config)
        return dataclasses.replace(found, values={**found.values, "top1": float("nan")}) if odd else found

    result = synthetic.search(folder, SPEC, InlinePool(evaluate))
    assert {t.error for t in result.trials if t.state == "failed"} == {"top1 came out as not a number"}


def test_nothing_but_failures_ends_the_search_with_the_error(synthetic, folder):
    def evaluate(config, required=None):
        raise ValueError("no such kernel")

    with pytest.raises(BitfrontError, match=r"first 5 candidates all failed.*ValueError: no such kernel"):
        synthetic.search(folder, SPEC, InlinePool(evaluate))
    assert [row["state"] for row in rows(folder, "trials.csv")].count("failed") == 5


def test_the_time_budget_ends_the_search(synthetic, folder):
    result = synthetic.search(folder, dataclasses.replace(SPEC, evaluations=10_000, time_budget=0.5))
    assert result.reason == TIME_SPENT
    assert 0 < result.progress.evaluations < 10_000
    spent = max(trial.elapsed_s for trial in result.trials)
    again = synthetic.search(
        folder, dataclasses.replace(SPEC, evaluations=10_000, time_budget=spent), resume=True
    )
    assert again.trials == result.trials, "time that an earlier part took counts"


def test_a_search_that_finds_nothing_admissible_ends_with_the_reason(synthetic, folder):
    class Unpriced(synthetic.Cost):
        def minimum_size_bytes(self, space, rules=()):
            return 1

    space = synthetic.space()
    spec = synthetic.at_widths_of(space, dataclasses.replace(SPEC, population=4, max_size="90kB"))
    problem = SearchProblem.from_spec(spec, space, Unpriced(), synthetic.references(space))
    record = StudyRecord.create(folder.path, "test", spec, problem, None)
    engine = SearchEngine(
        problem, make_sampler("nsga2", problem, 4, 0), InlinePool(synthetic.score), record, Budget(60)
    )
    result = engine.run()
    assert result.reason == NONE_WITHIN_LIMITS
    assert "--max-size 90kB asks for at most 90,000 bytes, the nearest was" in result.message


@pytest.mark.parametrize(
    ("encoders", "left"),
    [
        (3, "128 within the limits are left"),
        (12, "whether others are left is not known: they are too many to list"),
    ],
)
def test_a_sampler_that_finds_nothing_within_limits_ends_with_what_is_left(synthetic, encoders, left):
    class Stubborn:
        lag = 0

        def __init__(self):
            self.asked = 0

        def ask(self):
            # The widest first, which are too large; the next to last of them are within the limit.
            genomes = [
                tuple(map(int, f"{number:0{3 * encoders}b}")) for number in range(self.asked, self.asked + 2)
            ]
            self.asked += 2
            return [tuple(1 - index for index in genome[::-1]) for genome in genomes]

        def tell(self, trials):
            pass

    space = synthetic.space("encoder-kind", encoders)
    least = synthetic.Cost().minimum_size_bytes(space)
    spec = RunSpec(max_size=f"{least + 4000}B", allow_uniform=True, allow_slower=True)
    problem = synthetic.problem(spec, space)
    record = StudyRecord.in_memory(problem)
    result = SearchEngine(problem, Stubborn(), InlinePool(synthetic.score), record, Budget(60)).run()
    assert result.reason == f"{BARREN}; {left}"


class Recorder:
    def __init__(self):
        self.trials, self.generations = [], []

    def __call__(self, progress, trial):
        if trial is None:
            self.generations.append(progress)
        else:
            self.trials.append((trial, progress))


def test_observers_see_every_evaluation_and_every_generation(synthetic, folder):
    observer = Recorder()
    result = synthetic.search(folder, SPEC, observers=(observer,))
    assert [progress.evaluations for _, progress in observer.trials] == list(range(1, 61))
    shares = [progress.hypervolume for _, progress in observer.trials]
    # Estimates of earlier evaluations move with every one, and the volume of a front with them.
    assert 0.0 < shares[0] < shares[-1] == observer.generations[-1].hypervolume
    assert observer.trials[30][1].remaining_s > 0
    assert observer.generations[-1].front == result.front
    assert [progress.generation for progress in observer.generations] == [1, 2, 3, 3]


def test_a_full_disk_in_mid_search_is_one_line_and_the_run_can_go_on(synthetic, tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    whole = synthetic.search(store.create("whole"), SPEC)
    folder, calls, fsync = store.create("full"), [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BitfrontError, match=r"no space left on device; free some space"):
            synthetic.search(folder, SPEC)
    assert synthetic.search(folder, SPEC, resume=True).trials == whole.trials


def test_a_run_of_before_goes_on_with_what_is_known_now(synthetic, tmp_path):
    """Its study says neither which images are right nor what is expected; later evaluations do."""
    store, spec = RunStore(tmp_path), dataclasses.replace(SPEC, evaluations=16)
    before = synthetic.search(store.create("old"), spec)
    assert not any(trial.right for trial in before.trials)

    def evaluate(config, required=None):
        found = synthetic.score(config)
        right = packed(np.arange(500) < 5 * found["top1"])
        return dataclasses.replace(found, right=right, expected_difference=1.2 * (found["top1"] - 98.5))

    longer = dataclasses.replace(spec, evaluations=32)
    after = synthetic.search(store.open("old"), longer, InlinePool(evaluate), resume=True)
    assert sum(trial.paid for trial in after.trials) == 32
    assert sum(bool(trial.right) for trial in after.trials) == 16
    evaluated = [trial for trial in after.trials if trial.state == "complete"]
    assert all(math.isfinite(trial.values["top1_estimate"]) for trial in evaluated)
    for old, new in zip(before.trials, after.trials, strict=False):
        assert (old.digest, old.values["top1"]) == (new.digest, new.values["top1"])
    table = rows(store.open("old"), "trials.csv")
    known = [row["expected_difference"] != "" for row in table if row["state"] == "complete"]
    assert known == [False] * 16 + [True] * 16
