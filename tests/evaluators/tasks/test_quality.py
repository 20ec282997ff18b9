"""Standard errors and the paired comparison, against scipy and simulated experiments."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import (
    PairedComparison,
    Quality,
    resampled,
    resamplings,
    standard_error,
    standard_errors,
)
from bitfront.evaluators.tasks.registry import task_named


@pytest.mark.parametrize(
    ("lost", "won"), [(1, 0), (0, 5), (6, 6), (6, 7), (13, 4), (40, 90), (1000, 1100), (30_000, 29_500)]
)
def test_p_value_is_that_of_the_binomial_test(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won, 0.5).pvalue
    assert PairedComparison(100_000, lost, won).mcnemar_p == pytest.approx(expected, rel=1e-9)
    assert PairedComparison(100_000, won, lost).mcnemar_p == pytest.approx(expected, rel=1e-9)


def test_models_that_never_differ() -> None:
    same = PairedComparison(500, 0, 0)
    assert (same.difference, same.difference_standard_error, same.mcnemar_p) == (0.0, 0.0, 1.0)


def test_models_that_differ_everywhere() -> None:
    worse = PairedComparison(20, 20, 0)
    assert (worse.difference, worse.difference_standard_error) == (-100.0, 0.0)
    assert worse.mcnemar_p == pytest.approx(2 * 0.5**20)


def test_standard_errors_are_the_spread_of_repeated_experiments() -> None:
    # Of 400 images, each is lost with 8 %, won with 5 % and right in both with 70 %.
    counts = np.random.default_rng(0).multinomial(400, [0.08, 0.05, 0.70, 0.17], size=20_000)
    differences = 100.0 * (counts[:, 1] - counts[:, 0]) / 400
    top1 = 100.0 * (counts[:, 1] + counts[:, 2]) / 400
    paired = PairedComparison(400, 32, 20)
    assert paired.difference == pytest.approx(differences.mean(), abs=0.05)
    assert paired.difference_standard_error == pytest.approx(differences.std(), rel=0.02)
    assert standard_error(75.0, 400) == pytest.approx(top1.std(), rel=0.02)


def test_reading_a_front_needs_no_torch() -> None:
    code = "import sys, bitfront.search.reports.front_rows; print(*({'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not done.stdout.split()


def outputs_of(images: int, seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (images,), generator=generator)
    values = torch.randn(images, 4, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, 4)
    return Outputs(values.double(), (values + torch.randn(images, 4, generator=generator)).double(), labels)


def test_standard_errors_of_means_are_those_of_resampling() -> None:
    task = task_named("classification")
    known = task.arithmetic.outputs(outputs_of(400, 0))
    metrics = [task.metric(name) for name in ("top1", "top5", "loss", "kl", "agreement")]
    found = standard_errors(known, metrics)
    drawn, base = (resampled(part, metrics, 200) for part in (known, known.of_reference()))
    for index, metric in enumerate(metrics):
        own, whole = drawn[index], base[index]
        for error, draws in zip(
            (found[metric.name].value, found[metric.name].reference, found[metric.name].difference),
            (own, whole, own - whole),
            strict=True,
        ):
            # The spread of 200 draws is itself within 10 % (two of its standard errors); KL is cut at 0.
            assert error == pytest.approx(float(draws.std()), rel=0.15, abs=1e-12), metric.name


def test_bootstrap_errors_are_the_spread_over_other_images() -> None:
    task = task_named("classification")
    metrics = [task.metric(name) for name in ("macro_f1", "balanced_accuracy", "roc_auc")]
    fresh = [task.arithmetic.outputs(outputs_of(400, seed)) for seed in range(200)]
    values = np.array([[metric.value(known) for metric in metrics] for known in fresh])
    others = np.array([[metric.value(known.of_reference()) for metric in metrics] for known in fresh])
    found = standard_errors(fresh[0], metrics)
    for index, metric in enumerate(metrics):
        errors = found[metric.name]
        assert errors.value == pytest.approx(values[:, index].std(), rel=0.3), metric.name
        assert errors.difference == pytest.approx((values - others)[:, index].std(), rel=0.3), metric.name
        assert errors.difference < math.hypot(errors.value, errors.reference)


def test_resamplings_without_a_class_are_left_out() -> None:
    task = task_named("classification")
    outputs = outputs_of(12, 1)
    known = task.arithmetic.outputs(dataclasses.replace(outputs, labels=outputs.labels.clamp(min=1)))
    metric = task.metric("sensitivity:0")
    draws = resampled(known, [metric], 20)
    assert bool(draws.isnan().all())
    assert math.isnan(standard_errors(known, [metric])["sensitivity:0"].value)


def test_a_quality_survives_json() -> None:
    quality = Quality(50, {"top1": 90.0, "kl": 0.01}, 3, 1, 0.5)
    assert Quality.from_json(json.loads(json.dumps(quality.to_json()))) == quality
    assert quality.figures() == {"images": 50, "top1": 90.0, "kl": 0.01, "lost": 3, "won": 1}


def test_the_float_model_is_resampled_once_and_large_outputs_less_often() -> None:
    task = task_named("classification")
    known, draws = task.arithmetic.outputs(outputs_of(100, 0)), dict[str, torch.Tensor]()
    metric = task.metric("balanced_accuracy")
    first = standard_errors(known, [metric], draws)
    kept = draws["balanced_accuracy"]
    assert standard_errors(known, [metric], draws) == first
    assert draws["balanced_accuracy"] is kept
    assert (len(kept), resamplings(known.values.numel())) == (200, 200)
    assert [resamplings(entries) for entries in (0, 400_000, 2_000_000, 5_000_000)] == [200, 100, 25, 25]
