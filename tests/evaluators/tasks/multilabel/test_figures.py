"""Figures of multi-label data against scikit-learn and scipy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.registry import task_named

TASK = task_named("multilabel")


def outputs_of(labels: int = 6, images: int = 300, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(images, labels, generator=generator) < torch.linspace(0.05, 0.6, labels)).long()
    values = torch.randn(images, labels, generator=generator) + 2.0 * truth - 1.0
    return Outputs(values, values + 0.3 * torch.randn(images, labels, generator=generator), truth)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    outputs = outputs_of(seed=seed)
    found = TASK.quality(outputs, ["macro_f1", "roc_auc"])
    truth, values = outputs.labels.numpy(), outputs.values.double().numpy()
    p, q, decided = expit(values), expit(outputs.reference.double().numpy()), values > 0
    assert found["map"] == pytest.approx(100 * average_precision_score(truth, p, average="macro"), rel=1e-5)
    assert found["roc_auc"] == pytest.approx(100 * roc_auc_score(truth, p, average="macro"), rel=1e-5)
    assert found["macro_f1"] == pytest.approx(100 * f1_score(truth, decided, average="macro"), rel=1e-5)
    assert found["exact_match"] == pytest.approx(100 * accuracy_score(truth, decided))
    columns = [log_loss(truth[:, i], p[:, i], labels=[0, 1]) for i in range(truth.shape[1])]
    assert found["loss"] == pytest.approx(np.mean(columns), rel=1e-6)
    divergence = (rel_entr(q, p) + rel_entr(1 - q, 1 - p)).sum(-1).mean()
    assert found["kl"] == pytest.approx(divergence, rel=1e-6)
    assert found["agreement"] == pytest.approx(100 * np.mean(decided == (q > 0.5)))
    right = [((v > 0) == truth.astype(bool)).all(-1) for v in (values, outputs.reference.numpy())]
    assert (found.lost, found.won) == ((right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum())


def test_the_float_model_is_no_distance_from_itself() -> None:
    found = TASK.quality(outputs_of().of_reference())
    assert (found["kl"], found["agreement"], found.lost, found.won) == (0.0, 100.0, 0, 0)


def test_labels_that_no_image_has_have_no_part_in_means() -> None:
    outputs = outputs_of()
    pad = torch.nn.functional.pad
    wider = Outputs(pad(outputs.values, (0, 1), value=-9.0), pad(outputs.reference, (0, 1), value=-9.0),
                    pad(outputs.labels, (0, 1)))  # fmt: skip
    names = ("map", "macro_f1", "roc_auc", "exact_match")
    narrow, wide = (TASK.quality(o, names) for o in (outputs, wider))
    assert [wide[name] for name in names] == pytest.approx([narrow[name] for name in names])


def test_probabilities_that_are_all_but_one_keep_their_order() -> None:
    outputs = outputs_of()
    sure = Outputs(100.0 + outputs.values, outputs.reference, outputs.labels)
    found, expected = (TASK.quality(o, ["roc_auc"]) for o in (sure, outputs))
    assert found["map"] == pytest.approx(expected["map"])
    assert found["roc_auc"] == pytest.approx(expected["roc_auc"])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_what_is_expected_right_is_the_product_of_all_decisions(temperature: float) -> None:
    outputs = outputs_of()
    p = expit(outputs.reference.double().numpy() / temperature)

    def product(values: torch.Tensor) -> np.ndarray:
        return np.where(values.numpy() > 0, p, 1.0 - p).prod(-1)

    found = TASK.arithmetic.expected_right(outputs.values.double(), outputs.reference.double(), temperature)
    np.testing.assert_allclose(found, product(outputs.values), rtol=1e-9)
    told = TASK.quality(dataclasses.replace(outputs, temperature=lambda: temperature))
    expected = product(outputs.values) - product(outputs.reference)
    assert told.expected_difference == pytest.approx(100.0 * expected.mean())


def test_the_temperature_is_that_which_labels_were_drawn_with() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 3 * torch.randn(5000, 6, generator=generator)
    labels = torch.bernoulli((reference / 2.0).sigmoid(), generator=generator).long()
    known = TASK.arithmetic.outputs(Outputs(reference, reference, labels))
    assert TASK.arithmetic.temperature(known) == pytest.approx(2.0, rel=0.05)
