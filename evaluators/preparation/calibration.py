"""Calibration: the grid of every activation site at every allowed precision, from one set of images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, forward
from bitfront.evaluators.models.sites import is_centred, is_quantized, is_residual, keeps_full_range, role
from bitfront.evaluators.quantizers.floats import rounded_to
from bitfront.evaluators.quantizers.grids import (
    GRID_BITS,
    WIDEST_CODEBOOK,
    AffineGrid,
    PowerOfTwoGrid,
    PowerOfTwoSearch,
    codebook_lookup,
    fit_codebook,
)
from bitfront.evaluators.quantizers.minifloats import fit_minifloats
from bitfront.evaluators.quantizers.observers import (
    MinMaxObserver,
    RangeObserver,
    TensorStatistics,
    check_finite,
)
from bitfront.spaces import BitfrontError, FormatName, number_format, pinned_bits

# Of the residual stream, wherever it is on a power-of-two grid.
RESIDUAL_BITS = 8
# In the place of a grid where values are floats.
UNIT = AffineGrid(1.0, 0, (1 << GRID_BITS) - 1)


@dataclass(frozen=True)
class Calibration:
    """Grids by site and width.

    Attributes:
        affine: Grid of each per-tensor site at each width, by (site, bits).
        power_of_two: Grid of each LayerNorm input at the pinned residual width, by site.
        outermost: Share of the calibration values on the outermost codes of each affine grid (zero's own code
            apart), by (site, bits).
        codebooks: The level that stands for each code of the 8-bit grid in ``affine``, uint8 ``[256]``, by
            (site, bits) where a site has a codebook.
    """

    affine: dict[tuple[str, int], AffineGrid]
    power_of_two: dict[str, PowerOfTwoGrid]
    outermost: dict[tuple[str, int], float] = field(default_factory=dict)
    codebooks: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict)

    def grid(self, site: str, bits: int) -> AffineGrid:
        """The affine grid of a site.

        Raises:
            BitfrontError: Calibration never reached the site, or not at this width.
        """
        if (site, bits) not in self.affine:
            raise BitfrontError(_unreached(site, f" at {bits} bits"))
        return self.affine[site, bits]

    def steps(self, site: str, held: FormatName) -> AffineGrid:
        """The affine grid of a site, or one of steps of 1 where its values stay floats; see :meth:`grid`."""
        return self.grid(site, held) if isinstance(held, int) else UNIT

    def codes(self, site: str, bits: int, x: torch.Tensor) -> torch.Tensor:
        """Codes of float values of a site on its grid, or levels where the site has a codebook; uint8."""
        codes, codebook = self.grid(site, bits).quantize(x), self.codebooks.get((site, bits))
        return codes if codebook is None else codebook.to(x.device)[codes.long()]

    def quantized(self, site: str, held: FormatName, x: torch.Tensor) -> torch.Tensor:
        """Float values of a site as they are in a number format, float32, same shape."""
        if number_format(held).floating:
            return rounded_to(x, str(held))
        bits = number_format(held).bits
        return self.grid(site, bits).dequantize(self.codes(site, bits, x))

    def stream(self, site: str) -> PowerOfTwoGrid:
        """The power-of-two grid of a site of the residual stream.

        Raises:
            BitfrontError: Calibration never reached the site.
        """
        if site not in self.power_of_two:
            raise BitfrontError(_unreached(site, ""))
        return self.power_of_two[site]


def _unreached(site: str, width: str) -> str:
    return (
        f"{site} was never reached in calibration{width}, so that it has no quantization range: "
        "calibrate on images that pass through the whole model"
    )


def calibrate(
    blueprint: Blueprint,
    batches: Batches,
    widths: Sequence[int],
    observer: RangeObserver,
    scheme: str = "fq-vit",
    *,
    codebook_roles: Collection[str] = (),
    minifloat_roles: Collection[str] = (),
) -> Calibration:
    """Runs the float model twice over all calibration images and chooses every grid.

    The first pass finds ranges; the second fills the histograms and scores the power-of-two exponents, so
    that every choice rests on the whole calibration set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
        widths: Widths that searched sites may take.
        observer: Chooses the ranges of per-tensor sites.
        scheme: Whose sites are calibrated.
        codebook_roles: Roles of the sites that at few bits take a codebook of an 8-bit grid.
        minifloat_roles: Roles of those that at few bits are on floats of two significant bits.

    Raises:
        BitfrontError: NaN or infinity at a site, which is named.
    """
    statistics = _observe_ranges(blueprint, batches, scheme)
    searches = {
        site: PowerOfTwoSearch(found.low, found.high, RESIDUAL_BITS)
        for site, found in statistics.items()
        if is_residual(site)
    }
    _observe_errors(blueprint, batches, statistics, searches)
    pinned = {width for _, width in pinned_bits(scheme)}
    full_range = MinMaxObserver()
    affine: dict[tuple[str, int], AffineGrid] = {}
    outermost: dict[tuple[str, int], float] = {}
    codebooks: dict[tuple[str, int], torch.Tensor] = {}
    for site, found in statistics.items():
        if site in searches:
            continue
        chosen = full_range if keeps_full_range(site) else observer
        grid_over = AffineGrid.centred if is_centred(site, scheme) else AffineGrid.covering
        for bits in sorted({*widths, *pinned}):
            if role(site) in minifloat_roles and bits <= WIDEST_CODEBOOK:
                grid: AffineGrid = fit_minifloats(found, bits)
            elif role(site) in codebook_roles and bits <= WIDEST_CODEBOOK:
                # What is clipped of a GELU's tail costs more than its squared error says.
                whole = full_range if role(site) == "gelu" else chosen
                grid = grid_over(*whole.range(found, GRID_BITS), GRID_BITS)
                codebooks[site, bits] = codebook_lookup(fit_codebook(found.code_counts(grid), 1 << bits))
            else:
                grid = grid_over(*chosen.range(found, bits), bits)
            affine[site, bits], outermost[site, bits] = grid, found.outermost_share(grid)
    power_of_two = {site: search.grid() for site, search in searches.items()}
    return Calibration(affine, power_of_two, outermost, codebooks)


@torch.inference_mode()
def _observe_ranges(blueprint: Blueprint, batches: Batches, scheme: str) -> dict[str, TensorStatistics]:
    statistics: dict[str, TensorStatistics] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        if is_quantized(site, scheme):
            statistics.setdefault(site, TensorStatistics(site)).observe_range(value)
        else:
            check_finite(site, value)

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
        elif site in statistics and not keeps_full_range(site):
            statistics[site].observe_histogram(value)

    for images in batches():
        forward(blueprint, images, tap)
