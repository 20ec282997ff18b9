"""Calibration: the grid of every activation site at every allowed precision, from one set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint, forward
from bitfront.evaluators.observers import RangeObserver, TensorStatistics
from bitfront.evaluators.observers.min_max import MinMaxObserver
from bitfront.evaluators.quantizers import AffineGrid, PowerOfTwoGrid, PowerOfTwoSearch
from bitfront.spaces.config import PINNED_BITS

Batches = Callable[[], Iterable[torch.Tensor]]


@dataclass(frozen=True)
class Calibration:
    """Grids by site and width.

    Attributes:
        affine: Grid of each per-tensor site at each width, by (site, bits).
        power_of_two: Grid of each LayerNorm input at the pinned residual width, by site.
    """

    affine: dict[tuple[str, int], AffineGrid]
    power_of_two: dict[str, PowerOfTwoGrid]


def is_residual(site: str) -> bool:
    """Whether a site feeds a LayerNorm and so lies on a power-of-two grid."""
    return site in ("embed", "pool") or site.rpartition(".")[2] in ("residual1", "residual2")


def keeps_full_range(site: str) -> bool:
    """Whether a site keeps its full range under every observer.

    Softmax inputs and logits: what clipping them costs is not their squared error.
    """
    return site == "head" or site.endswith(".scores")


def calibrate(
    blueprint: Blueprint,
    batches: Batches,
    widths: Sequence[int],
    observer: RangeObserver,
) -> Calibration:
    """Runs the float model twice over all calibration images and chooses every grid.

    The first pass finds ranges; the second fills the histograms and scores the power-of-two exponents, so
    that every choice rests on the whole calibration set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images anew at each call.
        widths: Widths that searched sites may take.
        observer: Chooses the ranges of per-tensor sites.

    Raises:
        BitfrontError: NaN or infinity at a site, which is named.
    """
    statistics = _observe_ranges(blueprint, batches)
    residual_bits = dict(PINNED_BITS)["residual"]
    searches = {
        site: PowerOfTwoSearch(found.low, found.high, residual_bits)
        for site, found in statistics.items()
        if is_residual(site)
    }
    _observe_errors(blueprint, batches, statistics, searches)
    full_range = MinMaxObserver()
    affine: dict[tuple[str, int], AffineGrid] = {}
    for site, found in statistics.items():
        if site in searches:
            continue
        chosen = full_range if keeps_full_range(site) else observer
        for bits in sorted({*widths, *(width for _, width in PINNED_BITS)}):
            affine[site, bits] = AffineGrid.covering(*chosen.range(found, bits), bits)
    return Calibration(affine, {site: search.grid() for site, search in searches.items()})


@torch.inference_mode()
def _observe_ranges(blueprint: Blueprint, batches: Batches) -> dict[str, TensorStatistics]:
    statistics: dict[str, TensorStatistics] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        statistics.setdefault(site, TensorStatistics(site)).observe_range(value)

    for images in batches():
        forward(blueprint, images, tap)
    return statistics


@torch.inference_mode()
def _observe_errors(
    blueprint: Blueprint,
    batches: Batches,
    statistics: dict[str, TensorStatistics],
    searches: dict[str, PowerOfTwoSearch],
) -> None:
    def tap(site: str, value: torch.Tensor) -> None:
        if site in searches:
            searches[site].observe(value)
        elif not keeps_full_range(site):
            statistics[site].observe_histogram(value)

    for images in batches():
        forward(blueprint, images, tap)
