"""Macro-F1 and ROC-AUC by image: their mean is the figure, their spread that of resampled images."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from bitfront.evaluators.tasks.classification.figures import JUDGE, ClassOutputs, macro_f1, roc_auc
from bitfront.evaluators.tasks.classification.linearized import macro_f1_per_image, roc_auc_per_image
from bitfront.evaluators.tasks.metric import Outputs

PAIRS = [(macro_f1, macro_f1_per_image), (roc_auc, roc_auc_per_image)]
Figure = Callable[[ClassOutputs], float]
PerImage = Callable[[ClassOutputs], torch.Tensor]


def outputs_of(images: int, seed: int, classes: int = 4, noise: float = 1.5) -> ClassOutputs:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator) * (torch.arange(images) % 3 > 0)
    values = 2.0 * torch.nn.functional.one_hot(labels, classes) + noise * torch.randn(
        images, classes, generator=generator
    )
    found = JUDGE.outputs(Outputs(values, values, labels))
    assert isinstance(found, ClassOutputs)
    return found


@pytest.mark.parametrize(("figure", "per_image"), PAIRS)
def test_the_mean_is_the_figure(figure: Figure, per_image: PerImage) -> None:
    for seed in range(3):
        outputs = outputs_of(150, seed)
        # torchmetrics computes in float32
        assert float(per_image(outputs).mean()) == pytest.approx(figure(outputs), abs=1e-4)


@pytest.mark.parametrize(("figure", "per_image"), PAIRS)
def test_classes_without_images_and_equal_scores(figure: Figure, per_image: PerImage) -> None:
    values = torch.zeros(6, 5)
    values[:, 2] = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    labels = torch.tensor([2, 2, 2, 0, 0, 0])
    outputs = JUDGE.outputs(Outputs(values, values, labels))
    assert isinstance(outputs, ClassOutputs)
    assert float(per_image(outputs).mean()) == pytest.approx(figure(outputs), abs=1e-4)


@pytest.mark.parametrize(("figure", "per_image"), PAIRS)
def test_the_spread_is_that_of_resampled_images(figure: Figure, per_image: PerImage) -> None:
    outputs = outputs_of(400, 0)
    generator = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(150):
        taken = outputs.take(torch.randint(0, 400, (400,), generator=generator))
        draws.append(figure(taken))  # type: ignore[arg-type]
    error = float(per_image(outputs).std(correction=0)) / math.sqrt(400)
    assert error == pytest.approx(float(torch.tensor(draws).std()), rel=0.2)
