"""FID and KID against torchmetrics and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitfront.evaluators.generation.distances import frechet_distance, kernel_distance


def features(shift: float, count: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(10 * shift))
    return torch.randn(count, 5, generator=generator, dtype=torch.float64) + shift


def test_the_frechet_distance_is_that_of_its_formula() -> None:
    from scipy.linalg import sqrtm

    a, b = features(0.0), features(0.7)
    first, second = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    means = ((a.mean(0) - b.mean(0)) ** 2).sum().item()
    expected = means + np.trace(first + second - 2.0 * np.real(sqrtm(first @ second)))
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-8)


def test_the_kernel_distance_is_that_of_torchmetrics() -> None:
    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.image.kid import poly_mmd

    a, b = features(0.0), features(0.7)
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd(a, b, degree=3, coef=1.0)))


def test_the_kernel_distance_of_one_distribution_is_near_zero() -> None:
    near, far = (kernel_distance(features(0.0, 300), features(shift, 300)) for shift in (0.01, 1.0))
    assert abs(near) < 0.1 * far
