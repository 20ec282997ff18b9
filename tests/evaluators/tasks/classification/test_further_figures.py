"""Figures for imbalanced data and calibration against scikit-learn, scipy and hand values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score, roc_auc_score

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.registry import task_named
from bitfront.spaces import UserError

TASK = task_named("classification")
FURTHER = ("macro_f1", "balanced_accuracy", "roc_auc", "ece")


def imbalanced(classes: int, images: int = 400, seed: int = 0) -> Outputs:
    """Outputs whose classes have shares that halve from one to the next; every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    shares = 0.5 ** torch.arange(classes).double()
    labels = torch.multinomial(shares, images, replacement=True, generator=generator)
    labels[:classes] = torch.arange(classes)
    values = torch.randn(images, classes, generator=generator)
    values += 1.5 * torch.nn.functional.one_hot(labels, classes)
    return Outputs(values, values + torch.randn(images, classes, generator=generator), labels)


def expected_calibration_error(outputs: Outputs, bins: int = 15) -> float:
    """Guo et al. (2017), eq. 3, bin by bin."""
    probabilities = softmax(outputs.values.double().numpy(), -1)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == outputs.labels.numpy()
    total = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return 100.0 * total


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_are_those_of_scikit_learn(classes: int, seed: int) -> None:
    outputs = imbalanced(classes, seed=seed)
    named = [*FURTHER, "sensitivity:1", "specificity:1"]
    found = TASK.quality(outputs, named)
    labels, values = outputs.labels.numpy(), outputs.values.double().numpy()
    predicted, probabilities = values.argmax(-1), softmax(values, -1)
    scores = probabilities[:, 1] if classes == 2 else probabilities
    assert found["macro_f1"] == pytest.approx(100 * f1_score(labels, predicted, average="macro"), rel=1e-5)
    assert found["balanced_accuracy"] == pytest.approx(
        100 * balanced_accuracy_score(labels, predicted), rel=1e-5
    )
    expected = 100 * roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert found["roc_auc"] == pytest.approx(expected, rel=1e-5)
    assert found["sensitivity:1"] == pytest.approx(100 * recall_score(labels == 1, predicted == 1), rel=1e-5)
    assert found["specificity:1"] == pytest.approx(100 * recall_score(labels != 1, predicted != 1), rel=1e-5)
    assert found["ece"] == pytest.approx(expected_calibration_error(outputs), rel=1e-4)
    assert TASK.quality(outputs).values == {name: found[name] for name in TASK.always}


def test_classes_without_images_have_no_part_in_means() -> None:
    outputs = imbalanced(4)
    pad = torch.nn.functional.pad
    values, reference = (pad(v, (0, 2), value=-30.0) for v in (outputs.values, outputs.reference))
    wider = Outputs(values, reference, outputs.labels)
    narrow, wide = (TASK.quality(o, FURTHER) for o in (outputs, wider))
    for name in FURTHER:
        assert wide[name] == pytest.approx(narrow[name], rel=1e-5), name
    empty = TASK.quality(wider, ["sensitivity:5", "specificity:5"])
    assert np.isnan(empty["sensitivity:5"])
    assert empty["specificity:5"] == 100.0


def test_classes_may_be_named() -> None:
    outputs = imbalanced(3)
    named = Outputs(outputs.values, outputs.reference, outputs.labels, ("benign", "malignant", "other"))
    found = TASK.quality(named, ["sensitivity:malignant"])
    assert found["sensitivity:malignant"] == TASK.quality(outputs, ["sensitivity:1"])["sensitivity:1"]
    with pytest.raises(
        UserError, match="there is no class 'bening': the classes are benign, malignant, other"
    ):
        TASK.quality(named, ["sensitivity:bening"])
    with pytest.raises(UserError, match="there is no class '3': the classes are 0 to 2"):
        TASK.quality(outputs, ["sensitivity:3"])


def test_a_temperature_that_is_fitted_on_other_images_calibrates() -> None:
    whole = imbalanced(5, images=4000)
    # Labels drawn from the model's own probabilities are calibrated; logits three times as large are not.
    generator = torch.Generator().manual_seed(3)
    logits = whole.values.double()
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    first, second = slice(0, 2000), slice(2000, 4000)
    held_out = Outputs(3 * logits[first], logits[first], labels[first])
    outputs = Outputs(3 * logits[second], logits[second], labels[second], held_out=lambda: held_out)
    found = TASK.quality(outputs, ["ece", "ece_tempered"])
    assert found["ece"] > 15.0
    assert found["ece_tempered"] < 4.0
    from bitfront.evaluators.tasks.classification import figures

    fitted = figures.temperature(figures.JUDGE.outputs(held_out))
    assert fitted == pytest.approx(3.0, rel=0.05)
    assert figures.temperature(figures.JUDGE.outputs(held_out.of_reference())) == pytest.approx(1.0, rel=0.05)
    with pytest.raises(UserError, match="needs calibration images"):
        TASK.quality(held_out, ["ece_tempered"])
