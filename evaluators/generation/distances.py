"""Distances between sets of pictures by features of a classifier: FID and KID."""

from __future__ import annotations

import torch

# Of the kernel (1 + x y / d)^3 of KID (Binkowski et al. 2018), and how many subsets of pictures it averages.
DEGREE, SUBSETS, LARGEST_SUBSET = 3, 50, 100


def frechet_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Distance of Gaussians fitted to two sets of features (Heusel et al. 2017); 0 for equal sets.

    Args:
        a: Features, float64 ``[pictures, features]``.
        b: The same of as many features.
    """
    means = (a.mean(0) - b.mean(0)).square().sum()
    first, second = a.T.cov(), b.T.cov()
    # The trace of the root of a product is the sum of the roots of its eigenvalues.
    roots = torch.linalg.eigvals(first @ second).real.clamp(min=0.0).sqrt().sum()
    return float((means + first.trace() + second.trace() - 2.0 * roots).clamp(min=0.0))


def kernel_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Squared maximum mean discrepancy of two sets of features, unbiased; about 0 for equal distributions.

    Args:
        a: Features, float64 ``[pictures, features]``, at least two.
        b: The same of as many pictures and features.
    """
    size = min(len(a), len(b), LARGEST_SUBSET)
    generator = torch.Generator().manual_seed(0)
    count = SUBSETS if size < len(a) else 1
    found = []
    for _ in range(count):
        rows, columns = (torch.randperm(len(side), generator=generator)[:size] for side in (a, b))
        found.append(_discrepancy(a[rows], b[columns]))
    return float(torch.stack(found).mean())


def _discrepancy(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    n, width = a.shape

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x @ y.T / width + 1.0) ** DEGREE

    within = [(k.sum() - k.diagonal().sum()) / (n * (n - 1)) for k in (kernel(a, a), kernel(b, b))]
    return within[0] + within[1] - 2.0 * kernel(a, b).mean()
