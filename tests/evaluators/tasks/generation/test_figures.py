"""PSNR and SSIM against torchmetrics, picture by picture."""

from __future__ import annotations

import pytest
import torch

from bitfront.evaluators.tasks.generation.figures import psnr_per_image, ssim_per_image
from bitfront.evaluators.tasks.generation.task import GENERATION, MOST_PSNR
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.registry import TASKS, task_named
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError


def pictures(side: int, channels: int = 3) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(3, channels, side, side, generator=generator)
    noise = 0.1 * torch.randn(reference.shape, generator=generator)
    return Outputs((reference + noise).clamp(0.0, 1.0), reference, torch.zeros(3))


def test_psnr_is_that_of_torchmetrics() -> None:
    ensure_torchvision()
    from torchmetrics.functional.image import peak_signal_noise_ratio

    found = pictures(24)
    expected = peak_signal_noise_ratio(
        found.values.double(), found.reference.double(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    assert torch.allclose(psnr_per_image(found), expected)


def test_ssim_is_that_of_torchmetrics() -> None:
    ensure_torchvision()
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = pictures(40)
    expected = structural_similarity_index_measure(
        found.values.double(), found.reference.double(), data_range=1.0, reduction="none"
    )
    # torchmetrics leaves one more row of windows at each side out.
    assert torch.allclose(ssim_per_image(found), torch.as_tensor(expected), atol=2e-3)


@pytest.mark.parametrize("side", [4, 7, 16])
def test_equal_pictures_of_any_size_are_the_best(side: int) -> None:
    found = pictures(side, 1).of_reference()
    assert psnr_per_image(found).tolist() == [MOST_PSNR] * 3
    assert torch.allclose(ssim_per_image(found), torch.ones(3, dtype=torch.float64), atol=1e-5)


def test_metrics_are_means_over_pictures() -> None:
    found = pictures(16)
    for metric in GENERATION.metrics:
        values = metric.values_per_image(found)
        assert values is not None
        assert metric.value(found) == pytest.approx(float(values.mean()))


def test_pictures_have_no_labels_and_classifiers_not_this_task() -> None:
    assert task_named("generation") is not None
    assert "generation" not in TASKS
    with pytest.raises(UserError, match="--task generation"):
        GENERATION.arithmetic.right(torch.zeros(1), torch.zeros(1))
