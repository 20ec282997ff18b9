"""Differences of two models on the same images, beside arithmetic of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.paired import paired_differences
from bitfront.evaluators.tasks.registry import task_named

IMAGES, CLASSES = 60, 4


@pytest.fixture
def both() -> tuple[Outputs, Outputs]:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(IMAGES, CLASSES, generator=generator) * 2
    labels = reference.argmax(1).roll(1)
    values = [reference + noise * torch.randn(IMAGES, CLASSES, generator=generator) for noise in (0.3, 1.5)]
    judge = task_named("classification").arithmetic
    near, far = (judge.outputs(Outputs(found, reference, labels)) for found in values)
    return near, far


def test_means_differ_by_the_mean_of_differences(both: tuple[Outputs, Outputs]) -> None:
    near, far = both
    metrics = [task_named("classification").metric(name) for name in ("top1", "loss", "kl")]
    found = paired_differences(near, far, metrics)
    for metric in metrics:
        own, base = (metric.values_per_image(part).numpy() for part in both)  # type: ignore[union-attr]
        assert found[metric.name].value == pytest.approx(float(np.mean(own - base)))
        assert found[metric.name].error == pytest.approx(float(np.std(own - base)) / math.sqrt(IMAGES))
    assert found["kl"].value < -5 * found["kl"].error  # less noise is nearer to the float model
    right = [(part.values.argmax(1) == part.labels).double().mean() * 100 for part in both]
    assert found["top1"].value == pytest.approx(float(right[0] - right[1]))


def test_other_metrics_are_resampled_alike_for_both(both: tuple[Outputs, Outputs]) -> None:
    near, far = both
    metric = task_named("classification").metric("macro_f1")
    found = paired_differences(near, far, [metric])["macro_f1"]
    assert found.value == pytest.approx(metric.value(near) - metric.value(far))
    apart = paired_differences(near, near, [metric])["macro_f1"]
    assert tuple(apart) == (0.0, 0.0)
    assert 0 < found.error < 20
