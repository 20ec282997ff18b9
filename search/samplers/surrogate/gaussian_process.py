"""Gaussian-process regression on genomes, with kernels that are sums over genes and over pairs of genes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
# Observations that the kernel's shares are fitted to: the cost of a fit grows with their cube.
FITTED = 192
# Relative variance of the coefficients of the mean: wide, so that the observations decide them.
WIDE = 1e4
_START = np.log([0.5, 0.2, 0.3, 0.05])
_BOUNDS = [(np.log(1e-4), np.log(1e2))] * 3 + [(np.log(1e-4), np.log(1.0))]


@dataclass(frozen=True)
class Prediction:
    """What a model expects: means and standard deviations, each ``[count]``."""

    mean: Array
    std: Array


class GaussianProcess:
    """A process with a linear mean and three parts: each gene alone, pairs of genes, and a smooth rest.

    With features ``f`` (one for each gene and width, scaled by the gene's relevance) the kernel is
    ``a <f, f'> + b <f, f'>^2 + c exp(-|f - f'|^2)``; its shares and the noise maximise the marginal
    likelihood (Rasmussen and Williams 2006, equation 5.8), the variance in closed form.

    Args:
        features: Observed genomes' features, ``[observations, features]``.
        basis: What the mean is linear in, ``[observations, terms]``.
        values: What was observed, ``[observations]``.
    """

    def __init__(self, features: Array, basis: Array, values: Array) -> None:
        self._features, self._basis = features, basis
        spread = float(values.std())
        self._centre, self._unit = float(values.mean()), spread if spread > 0 else 1.0
        target = (values - self._centre) / self._unit
        # Evenly spread over the observations, the last one among them.
        chosen = np.unique(np.linspace(0, len(target) - 1, min(len(target), FITTED)).round().astype(int))
        self._shares = _fitted(features[chosen], basis[chosen], target[chosen])
        kernel = _kernel(features, features, self._shares) + WIDE * basis @ basis.T
        kernel[np.diag_indices_from(kernel)] += self._shares[3]
        self._factor = cho_factor(kernel, lower=True)
        self._weights = cho_solve(self._factor, target)
        self._variance = float(target @ self._weights) / len(target)

    def mean(self, features: Array, basis: Array) -> Array:
        """Means of genomes with these features and basis, ``[count]``."""
        mean: Array = self._centre + self._unit * (self._cross(features, basis) @ self._weights)
        return mean

    def predict(self, features: Array, basis: Array) -> Prediction:
        """Means and standard deviations, without the noise; dearer than the means alone."""
        cross = self._cross(features, basis)
        own = _diagonal(features, self._shares) + WIDE * np.einsum("ij,ij->i", basis, basis)
        explained = solve_triangular(self._factor[0], cross.T, lower=True)
        left = np.maximum(own - np.einsum("ij,ij->j", explained, explained), 1e-10)
        std = np.sqrt(self._variance * left)
        return Prediction(self._centre + self._unit * (cross @ self._weights), self._unit * std)

    def _cross(self, features: Array, basis: Array) -> Array:
        cross: Array = _kernel(features, self._features, self._shares) + WIDE * basis @ self._basis.T
        return cross


def _kernel(a: Array, b: Array, shares: Array) -> Array:
    inner = a @ b.T
    apart = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)[None] - 2.0 * inner
    linear, pairs, smooth, _ = shares
    kernel: Array = linear * inner + pairs * inner**2 + smooth * np.exp(-np.maximum(apart, 0.0))
    return kernel


def _diagonal(features: Array, shares: Array) -> Array:
    own = np.einsum("ij,ij->i", features, features)
    linear, pairs, smooth, _ = shares
    diagonal: Array = linear * own + pairs * own**2 + smooth
    return diagonal


def _fitted(features: Array, basis: Array, target: Array) -> Array:
    """Shares of the kernel's parts and of the noise that make the observations likeliest."""
    mean_part = WIDE * basis @ basis.T

    def surprise(logarithms: Array) -> float:
        shares = np.exp(logarithms)
        kernel = _kernel(features, features, shares) + mean_part
        kernel[np.diag_indices_from(kernel)] += shares[3]
        try:
            factor = cho_factor(kernel, lower=True)
        except np.linalg.LinAlgError:
            return 1e10
        variance = max(float(target @ cho_solve(factor, target)) / len(target), 1e-12)
        # A weak prior on the logarithms keeps few observations from running to a bound.
        prior = 0.02 * float(np.square(logarithms - _START).sum())
        determinant = float(np.log(np.diag(factor[0])).sum())
        return 0.5 * len(target) * math.log(variance) + determinant + prior

    found = minimize(surprise, _START, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": 30})
    shares: Array = np.exp(found.x)
    return shares
