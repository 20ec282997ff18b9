"""Accuracy figures against scikit-learn, scipy and hand values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from scipy.stats import binomtest
from sklearn.metrics import log_loss, top_k_accuracy_score

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import Quality, standard_error
from bitfront.evaluators.tasks.registry import task_named


def random_logits(classes: int, images: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)
    float_logits = 3 * torch.randn(images, classes, generator=generator)
    logits = float_logits + torch.randn(images, classes, generator=generator)
    labels = torch.randint(0, classes, (images,), generator=generator)
    return logits, float_logits, labels


def judged(
    logits: torch.Tensor, float_logits: torch.Tensor, labels: torch.Tensor, seconds: float, *metrics: str
) -> Quality:
    outputs = Outputs(logits, float_logits, labels)
    return task_named("classification").quality(outputs, metrics, seconds)


@pytest.mark.parametrize("classes", [7, 10, 100])
def test_against_scikit_learn_and_scipy(classes: int) -> None:
    logits, float_logits, labels = random_logits(classes)
    found = judged(logits, float_logits, labels, 1.5)
    p, q = softmax(float_logits.double().numpy(), -1), softmax(logits.double().numpy(), -1)
    every = np.arange(classes)
    assert (found.images, found.seconds) == (300, 1.5)
    for k, value in ((1, found["top1"]), (5, found["top5"])):
        assert value == pytest.approx(100 * top_k_accuracy_score(labels, q, k=k, labels=every))
    assert found["loss"] == pytest.approx(log_loss(labels, q, labels=every))
    assert found["kl"] == pytest.approx(rel_entr(p, q).sum(-1).mean())
    assert found["agreement"] == pytest.approx(100 * np.mean(p.argmax(-1) == q.argmax(-1)))


def test_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]))
    float_logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.4, 0.4, 0.2]]))
    found = judged(logits, float_logits, torch.tensor([0, 1]), 0.0)
    assert (found["top1"], found["agreement"]) == (50.0, 50.0)
    assert found["loss"] == pytest.approx((math.log(2) + math.log(5)) / 2)
    assert found["kl"] == pytest.approx((0.8 * math.log(2) - 0.2 * math.log(3)) / 2, rel=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_with_few_classes_every_class_is_among_the_five_best(classes: int) -> None:
    found = judged(*random_logits(classes), 0.0)
    assert found["top5"] == 100.0
    assert found["top1"] == 100.0 if classes == 1 else found["top1"] < 100.0


def test_equal_logits_have_no_divergence() -> None:
    logits, _, labels = random_logits(10)
    found = judged(logits, logits, labels, 0.0)
    assert (found["kl"], found["agreement"]) == (0.0, 100.0)
    shifted = judged(logits + 7.0, logits, labels, 0.0)
    assert shifted["kl"] == pytest.approx(0.0, abs=1e-6)
    assert shifted["kl"] >= 0.0


def test_huge_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    found = judged(logits, -logits, torch.tensor([0, 0]), 0.0)
    assert found["loss"] == pytest.approx(1e4)
    assert found["kl"] == pytest.approx(2e4)


def test_standard_error() -> None:
    logits, float_logits, labels = random_logits(7)
    found = judged(logits, float_logits, labels, 0.0)
    hits = (logits.argmax(-1) == labels).double()
    assert standard_error(found["top1"], found.images) == pytest.approx(
        100 * float(hits.std(correction=0)) / math.sqrt(300)
    )


def test_images_lost_and_won_against_the_float_model() -> None:
    logits, float_logits, labels = random_logits(7)
    found = judged(logits, float_logits, labels, 0.0)
    gain = (logits.argmax(-1) == labels).int() - (float_logits.argmax(-1) == labels).int()
    assert (found.lost, found.won) == (int((gain == -1).sum()), int((gain == 1).sum()))
    assert found.lost > 0 < found.won
    whole = judged(float_logits, float_logits, labels, 0.0)
    assert (
        whole.lost,
        whole.won,
        whole.against_float.difference,
        whole.against_float.difference_standard_error,
    ) == (0, 0, 0.0, 0.0)
    assert found.against_float.difference == pytest.approx(found["top1"] - whole["top1"])
    spread = 100 * float(gain.double().std(correction=0))
    assert found.against_float.difference_standard_error == pytest.approx(spread / math.sqrt(300))
    assert found.against_float.mcnemar_p == pytest.approx(binomtest(found.won, found.won + found.lost).pvalue)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_what_is_expected_right_is_the_float_models_probability_of_what_is_chosen(temperature: float) -> None:
    logits, float_logits, labels = random_logits(7)
    p = softmax(float_logits.double().numpy() / temperature, -1)
    rows = np.arange(len(labels))
    chosen, whole = (p[rows, part.argmax(-1)] for part in (logits.numpy(), float_logits.numpy()))
    judge = task_named("classification").arithmetic
    found = judge.expected_right(logits.double(), float_logits.double(), temperature)
    np.testing.assert_allclose(found, chosen)
    outputs = Outputs(logits, float_logits, labels, temperature=lambda: temperature)
    expected = task_named("classification").quality(outputs).expected_difference
    assert expected == pytest.approx(100.0 * (chosen - whole).mean())


def test_labels_drawn_from_the_float_model_come_out_as_expected() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 3 * torch.randn(20_000, 5, generator=generator)
    values = reference + torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial((reference / 2.0).softmax(-1), 1, generator=generator)[:, 0]
    judge = task_named("classification").arithmetic
    held_out = judge.outputs(Outputs(reference, reference, labels))
    assert judge.temperature(held_out) == pytest.approx(2.0, rel=0.05)
    found = task_named("classification").quality(Outputs(values, reference, labels, temperature=lambda: 2.0))
    counted = found.against_float
    assert counted.difference < -2.5
    error = counted.difference_standard_error
    assert found.expected_difference == pytest.approx(counted.difference, abs=3 * error)
