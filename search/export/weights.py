"""Choosing a point by weights over the objectives: the least weighted Chebyshev distance to the ideal point.

Each objective is scaled from 0 (best on the front) to 1 (worst on the front), the range between the ideal and
the nadir point, which is the usual normalisation (Miettinen, "Nonlinear Multiobjective Optimization", 1999,
section 2.4). The point is that whose largest weighted shortfall is least, and of several the one whose sum of
them is: the lexicographic weighted Chebyshev method of Steuer and Choo (Mathematical Programming 26, 1983),
by which every point of a front can be reached, also where the front is not convex.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from bitfront.spaces import UserError

Floats = NDArray[np.float64]


def weights_text(weights: Mapping[str, float]) -> str:
    """Weights by objective as ``--pick`` takes them, such as ``top1=2,size=1``."""
    return ",".join(f"{name}={weight}" for name, weight in weights.items())


def read_weights(text: str, known: Collection[str]) -> dict[str, float]:
    """The weights of a text such as ``top1=2,size=1``, scaled to a sum of 1.

    Args:
        text: As it was given.
        known: Names of what may be weighted.

    Raises:
        UserError: It is no such text, or no weight is above 0.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if name not in known:
            raise _mistake(text, f"{name or part.strip()!r} is none of {', '.join(known)}")
        if name in found:
            raise _mistake(text, f"{name} is weighted twice")
        if not 0.0 <= weight < math.inf:
            raise _mistake(text, f"the weight of {name} is no number of at least 0")
        found[name] = weight
    total = sum(found.values())
    if total == 0.0:
        raise _mistake(text, "no weight is above 0")
    return {name: weight / total for name, weight in found.items()}


def _mistake(text: str, wrong: str) -> UserError:
    return UserError(f"--pick {text!r}: {wrong}; give weights such as top1=2,size=1")


def shortfalls(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The largest weighted shortfall of each point and the sum of them, both ``[points]``; less is better.

    Args:
        values: Of each point in each objective, ``[points, objectives]``; lower is better. NaN where a value
            is missing, which is infinitely far.
        weights: Of the objectives.
    """
    from pymoo.decomposition.tchebicheff import Tchebicheff

    ideal, nadir = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    scaled = (values - ideal) / np.where(nadir > ideal, nadir - ideal, 1.0)
    counted = np.where(np.isnan(scaled), np.inf, scaled)[:, weights > 0.0]
    # Named, since a single objective would be taken for many weights of one point.
    largest: Floats = Tchebicheff().do(counted, weights[weights > 0.0], _type="many_to_one").round(12)
    return largest, (counted @ weights[weights > 0.0]).round(12)
