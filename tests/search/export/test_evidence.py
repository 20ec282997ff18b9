"""What a run knows of its front: quality with errors, costs with what counts as no difference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bitfront.search.estimation.differences import TWO_SIDED, paired_error
from bitfront.search.estimation.estimates import COUNTED, Measurements, estimate_differences
from bitfront.search.export.evidence import allowed_drop, evidence_of
from bitfront.search.reports.front_rows import accuracy_notes, front_rows, shortlist_notes
from bitfront.search.runs.reader import RecordedRun


@pytest.fixture
def run(runs_dir: Path) -> RecordedRun:
    return RecordedRun.read(runs_dir, "digits-1")


def with_objectives(run: RecordedRun, *names: str, front: pd.DataFrame | None = None) -> RecordedRun:
    shown = run.front if front is None else front
    return dataclasses.replace(run, front=shown, spec={**run.spec, "objectives": list(names)})


def test_counts_have_paired_errors(run: RecordedRun) -> None:
    found, counts = evidence_of(run), run.trials.set_index("trial").loc[run.front["trial"]]
    assert found.trials.tolist() == run.front["trial"].tolist()
    assert found.quality == pytest.approx(run.front["top1"])
    assert found.errors == pytest.approx(paired_error(899, counts["lost"], counts["won"]))
    assert found.differences.known
    assert not found.differences.paired


def test_estimates_take_the_place_of_counts_where_there_are_some(run: RecordedRun) -> None:
    estimates, errors = run.front["top1"] - 1.0, np.full(len(run.front), 0.25)
    estimates.iloc[0] = np.nan
    front = run.front.assign(top1_estimate=estimates, top1_estimate_error=errors)
    counted, found = evidence_of(run), evidence_of(dataclasses.replace(run, front=front))
    assert found.quality[0] == counted.quality[0]
    assert found.errors[0] == counted.errors[0]
    assert found.quality[1:] == pytest.approx(counted.quality[1:] - 1.0)
    assert found.errors[1:] == pytest.approx(0.25)


def estimated(run: RecordedRun) -> RecordedRun:
    """The run as searches write it: with what estimates rest on, and estimates."""
    trials = run.trials.assign(images=899.0, expected_difference=1.3 * (run.trials["top1"] - 98.9))
    front = run.front.assign(top1_estimate=run.front["top1"] - 0.25, top1_estimate_error=0.5)
    return dataclasses.replace(run, trials=trials, front=front)


def test_differences_of_estimates_have_the_errors_of_pairs(run: RecordedRun) -> None:
    run = estimated(run)
    seen = run.trials[run.trials["state"] == "complete"]
    columns = {name: seen[name].to_numpy(dtype=np.float64) for name in ("kl", *COUNTED)}
    posterior = estimate_differences(Measurements.of(columns, "kl"), 98.9)
    rows = np.array([seen["trial"].tolist().index(number) for number in run.front["trial"]])
    found = evidence_of(run).differences
    assert found.paired
    np.testing.assert_allclose(found.errors, posterior.errors_of_pairs(rows))
    top = run.front["top1"].to_numpy()
    np.testing.assert_allclose(found.values, top[:, None] - top[None, :], atol=1e-9)
    independent = np.hypot(posterior.error[rows][:, None], posterior.error[rows][None])
    assert found.errors.mean() < 0.95 * independent.mean(), "what moves all alike moves differences less"
    assert any(
        "not told to be better by a paired test" in note for note in shortlist_notes(run, front_rows(run))
    )
    assert accuracy_notes(run, front_rows(run))[-1] == (
        "points were chosen by estimates of their top-1 on other images, not by counts"
    )


@pytest.mark.parametrize("missing", ["images", "expected_difference", "kl", "lost"])
def test_runs_without_what_estimates_rest_on_have_errors_as_if_independent(
    run: RecordedRun, missing: str
) -> None:
    known = estimated(run)
    found = evidence_of(dataclasses.replace(known, trials=known.trials.drop(columns=missing))).differences
    assert not found.paired
    assert found.errors[0, 1] == pytest.approx(0.5 * 2**0.5)


def test_of_a_metric_that_is_to_be_low_the_sign_is_changed_and_errors_are_not_known(run: RecordedRun) -> None:
    found = evidence_of(with_objectives(run, "loss", "size"))
    assert found.quality == pytest.approx(-run.front["loss"])
    assert np.isnan(found.errors).all()
    assert not found.differences.known


def test_costs_are_the_other_objectives_and_how_far_further_metrics_are_from_their_best(
    run: RecordedRun,
) -> None:
    front = run.front.assign(top5=99.0)
    found = evidence_of(with_objectives(run, "top1", "latency", "size", "top5", front=front))
    assert found.costs[:, 0] == pytest.approx(run.front["latency_ms"])
    assert found.costs[:, 1] == pytest.approx(run.front["size_bytes"])
    assert found.costs[:, 2] == pytest.approx(1.0)
    assert evidence_of(with_objectives(run, "top1", "size")).costs.shape == (len(run.front), 1)
    assert evidence_of(with_objectives(run, "top1")).costs.shape == (len(run.front), 0)


def test_latencies_within_their_noise_do_not_differ_nor_sizes_by_a_thousandth(run: RecordedRun) -> None:
    noisy = dataclasses.replace(run, summary={**run.summary, "latency_noise": 0.02})
    assert evidence_of(noisy).tolerances == pytest.approx((TWO_SIDED * 2**0.5 * 0.02, 0.001))
    assert evidence_of(run).tolerances == (0.001, 0.001)


def test_the_drop_is_what_max_drop_says_of_the_metric(run: RecordedRun) -> None:
    def drop(given: object, objectives: tuple[str, ...] = ("top1", "size")) -> float:
        return allowed_drop(
            dataclasses.replace(run, spec={**run.spec, "max_drop": given, "objectives": objectives})
        )

    assert [drop(None), drop(1.5), drop(["top1=0.25", "loss=3"])] == [0.5, 1.5, 0.25]
    assert [drop(1.5, ("loss", "size")), drop(["loss=0.1"], ("loss", "size"))] == [0.0, 0.1]
