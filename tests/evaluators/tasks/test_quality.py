"""Standard errors and the paired comparison, against scipy and simulated experiments."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import (
    PairedComparison,
    Quality,
    packed,
    resampled,
    resamplings,
    standard_error,
    standard_errors,
    unpacked,
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


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400, "many", None])
def test_counts_that_are_none_are_refused(value: object) -> None:
    document = Quality(10, {"top1": 90.0}, 1, 1, 0.5).to_json()
    with pytest.raises((ValueError, TypeError)):
        Quality.from_json({**document, "images": value})


def test_which_images_are_right_and_what_is_expected_survive_json() -> None:
    right = packed(np.arange(50) % 7 > 0)
    quality = Quality(50, {"top1": 90.0}, 3, 1, 0.5, right, -0.75)
    document = json.loads(json.dumps(quality.to_json()))
    assert document == {
        "images": 50, "top1": 90.0, "lost": 3, "won": 1, "seconds": 0.5, "right": right,
        "expected_difference": -0.75,
    }  # fmt: skip
    assert Quality.from_json(document) == quality
    assert quality.figures() == {"images": 50, "top1": 90.0, "lost": 3, "won": 1}
    del document["right"], document["expected_difference"]
    earlier = Quality.from_json(document)
    assert earlier.right == ""
    assert earlier.expected_difference is None
    assert earlier.to_json() == document, "what is not known is not written"


@pytest.mark.parametrize("images", [1, 7, 8, 9, 256, 50_000])
def test_packed_flags_come_back(images: int) -> None:
    for share in (0.0, 0.3, 1.0):
        flags = np.random.default_rng(images).random(images) < share
        found = unpacked(packed(flags), images)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, flags)
    assert len(packed(flags)) < 60 + images / 5


def bomb(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size), 9)).decode()


def text_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("images", [0, -1, 16, 25, 10**6, 10**30])
def test_flags_of_another_number_of_images_are_refused(images: int) -> None:
    with pytest.raises(ValueError, match=r"packed flags"):
        unpacked(packed(np.ones(24, dtype=bool)), images)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        "abc",
        "ü",
        text_of(b"nonsense"),
        text_of(b""),
        text_of(zlib.compress(b"abc")[:-2]),
        text_of(zlib.compress(b"abc")[:-1] + b"?"),
        text_of(zlib.compress(b"abc") + b"more"),
    ],
)
def test_text_that_is_no_packed_flags_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(text, 24)
    assert unpacked(text_of(zlib.compress(b"abc")), 24).sum() == 10


@pytest.mark.parametrize("images", [0, 24])
def test_text_that_grows_without_bound_is_refused_without_growing(images: int) -> None:
    text = bomb(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="packed flags"):
            unpacked(text, images)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_what_is_right_and_expected_is_that_of_the_task() -> None:
    task = task_named("classification")
    outputs = outputs_of(400, 3)
    assert task.quality(outputs).expected_difference is None, "no temperature, no probabilities"
    found = task.quality(dataclasses.replace(outputs, temperature=lambda: 2.0))
    known = task.arithmetic.outputs(outputs)
    right, whole = (part.argmax(-1) == outputs.labels for part in (known.values, known.reference))
    np.testing.assert_array_equal(unpacked(found.right, 400), right.numpy())
    assert (found.lost, found.won) == (int((whole & ~right).sum()), int((right & ~whole).sum()))
    assert found.expected_difference < 0.0, "the float model expects itself to be right most often"
    same = dataclasses.replace(outputs.of_reference(), temperature=lambda: 2.0)
    assert task.quality(same).expected_difference == 0.0


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
