"""The shortlist of a front: few points that really differ, and which of them stands for each other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.objectives import NEGLIGIBLE

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Positions = NDArray[np.int64]

MOST_LISTED = 8
# Beyond the worst of each axis, so that the points at the ends dominate a volume, too.
_REFERENCE = 1.1


@dataclass(frozen=True)
class Shortlist:
    """Which points of a front are listed, and what stands behind them.

    Attributes:
        listed: Positions of the listed points, ascending.
        stands_for: Position of the listed point that stands for each point, int64 ``[points]``; a listed one
            stands for itself.
        spared: Whether a point really differs from all that are listed and was left out only to keep the list
            short, bool ``[points]``; the nearest listed point stands for it.
    """

    listed: tuple[int, ...]
    stands_for: Positions
    spared: Flags

    def behind(self, position: int) -> Positions:
        """Positions of the points that a listed one stands for, without itself."""
        others = np.arange(len(self.stands_for)) != position
        return np.flatnonzero((self.stands_for == position) & others)


def shortlist(
    quality: Floats,
    costs: Floats,
    alike: Flags,
    count: int = MOST_LISTED,
    tolerances: Sequence[float] = (),
    keep: Sequence[int] = (),
) -> Shortlist:
    """The points of a front that are worth a person's look.

    A point replaces another where it is nowhere costlier and no test tells it to be worse; of two that could
    replace one another, the cheaper one does, or the better one where they cost the same. The listed points
    are the kernel of this relation (von Neumann and Morgenstern 1944): none replaces another, and each of the
    others is replaced by a listed one. Where these are too many, as many are taken, one after the other, as
    dominate the largest hypervolume (Guerreiro et al., Evol. Comput. 24(3), 2016), ratios of costs counting.

    Args:
        quality: Of each point, ``[points]``; higher is better.
        costs: Positive, lower is better, ``[points, costs]``.
        alike: Which points no test tells apart in quality, ``[points, points]``, symmetric; see
            :meth:`bitfront.search.estimation.differences.Differences.alike`.
        count: Points to list at most.
        tolerances: For each cost, the share below which a difference is none; nothing counts where empty.
        keep: Positions of points to list in any case.

    Raises:
        ValueError: More points are to be kept than listed.
    """
    if len(set(keep)) > count:
        raise ValueError(f"{len(set(keep))} points cannot be kept in a list of {count}")
    replaces = _replaces(quality, costs, alike, tolerances)
    replaces[:, list(keep)] = False
    kernel = _kernel(replaces, _order(quality, costs))
    listed = _most_volume(kernel, _places(quality[kernel], costs[kernel]), count, keep)
    places = _places(quality, costs)
    distances = np.linalg.norm(places[:, None] - places[None, listed], axis=-1)
    # The nearest of those that replace a point stands for it; the nearest of all where none does.
    near = np.where(replaces[listed].T, distances, distances + 1e6)
    stands_for = np.array(listed, dtype=np.int64)[near.argmin(axis=1)] if len(quality) else np.zeros(0, int)
    stands_for[listed] = listed
    spared = ~replaces[stands_for, np.arange(len(quality))]
    spared[listed] = False
    return Shortlist(tuple(listed), stands_for, spared)


def costlier(costs: Floats) -> Floats:
    """How much costlier each point is than each other, ``[points, points]``: negative where it is cheaper.

    Ratios of costs ``[points, costs]`` are multiplied (their logarithms added), negligible ones left out.
    """
    logs = np.log(costs)
    ratios = logs[:, None, :] - logs[None, :, :]
    beyond: Floats = np.where(np.abs(ratios) <= np.log1p(NEGLIGIBLE), 0.0, ratios).sum(axis=-1).round(12)
    return beyond


def _replaces(quality: Floats, costs: Floats, alike: Flags, tolerances: Sequence[float]) -> Flags:
    """Whether the first point replaces the second, ``[points, points]``."""
    slack = 1.0 + np.array(tolerances or [0.0] * costs.shape[1], dtype=np.float64)
    no_costlier = (costs[:, None, :] <= costs[None, :, :] * slack).all(axis=-1)
    could = no_costlier & (alike | (quality[:, None] >= quality[None, :]))
    dearer, places = costlier(costs), np.arange(len(quality))
    better = (quality[:, None] > quality) | ((quality[:, None] == quality) & (places[:, None] < places))
    replaces: Flags = could & (~could.T | (dearer < 0) | ((dearer == 0) & better))
    return replaces


def _order(quality: Floats, costs: Floats) -> Positions:
    """Positions, the cheapest first."""
    return np.lexsort((-quality, np.log(costs).sum(axis=1)))


def _kernel(replaces: Flags, order: Positions) -> list[int]:
    """The points that no listed one replaces.

    Tolerances may close a circle, each point replacing the next: then the cheapest of it is listed.
    """
    undecided = np.ones(len(order), dtype=bool)
    listed: list[int] = []
    while undecided.any():
        free = undecided & ~replaces[undecided].any(axis=0)
        if not free.any():
            free[order[undecided[order]][0]] = True
        listed += np.flatnonzero(free).tolist()
        undecided &= ~(free | replaces[free].any(axis=0))
    return sorted(listed)


def _places(quality: Floats, costs: Floats) -> Floats:
    """Where each point lies from 0 (best) to 1 (worst) in every axis, ``[points, 1 + costs]``."""
    axes = np.column_stack([-quality, np.log(costs)])
    if not len(axes):
        return axes
    low, high = axes.min(axis=0), axes.max(axis=0)
    places: Floats = (axes - low) / np.where(high > low, high - low, 1.0)
    return places


def _most_volume(points: list[int], places: Floats, count: int, keep: Sequence[int]) -> list[int]:
    """Greedily the points that add most hypervolume, those to be kept first; ``places`` are theirs."""
    from moocore import hypervolume

    if len(points) <= count:
        return points
    place = dict(zip(points, places, strict=True))
    chosen = sorted(set(keep))
    corner = np.full(places.shape[1], _REFERENCE)
    while len(chosen) < count:
        rest = [point for point in points if point not in chosen]
        sets = (np.array([place[point] for point in (*chosen, other)]) for other in rest)
        chosen.append(rest[int(np.argmax([hypervolume(found, ref=corner) for found in sets]))])
    return sorted(chosen)
