"""Grids of activations: affine, with power-of-two factors (PTF), and codebooks of a few codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

# The smallest scale, so that a constant tensor still has a grid.
SMALLEST_SCALE = 1e-8
LARGEST_EXPONENT = 3
GRID_BITS = 8
GRID_CODES = 1 << GRID_BITS
# Tensors of up to this many bits have a codebook where a recipe says so.
WIDEST_CODEBOOK = 4


def single(number: float) -> float:
    """The nearest float32 number: what files store in four bytes must be one before it is used."""
    return float(np.float32(number))


@dataclass(frozen=True)
class AffineGrid:
    """Unsigned codes ``q`` for values ``(q - zero_point) * scale``.

    Attributes:
        scale: Step between neighbouring values.
        zero_point: Code of zero, from 0 to ``qmax``.
        qmax: Largest code, ``2^bits - 1``.
    """

    scale: float
    zero_point: int
    qmax: int

    @classmethod
    def covering(cls, low: float, high: float, bits: int) -> AffineGrid:
        """The grid of ``2^bits`` codes over ``[low, high]``, widened to contain zero; float32 scale."""
        low, high = min(low, 0.0), max(high, 0.0)
        qmax = (1 << bits) - 1
        scale = single(max((high - low) / qmax, SMALLEST_SCALE))
        return cls(scale, min(max(round(-low / scale), 0), qmax), qmax)

    @classmethod
    def centred(cls, low: float, high: float, bits: int) -> AffineGrid:
        """The grid over ``[low, high]`` whose zero point is the middle code: less it, codes are signed."""
        qmax = (1 << bits) - 1
        middle = (qmax + 1) // 2
        scale = single(max(high / max(qmax - middle, 1), -low / middle, SMALLEST_SCALE))
        return cls(scale, middle, qmax)

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float values, uint8, same shape."""
        codes = (x / self.scale).round_().add_(self.zero_point)
        return codes.clamp_(0, self.qmax).to(torch.uint8)

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """Values of codes, float32, same shape."""
        return (codes.float() - self.zero_point) * self.scale


@dataclass(frozen=True)
class PowerOfTwoGrid:
    """Unsigned codes ``q`` for values ``(q - zero_point) * 2^exponent_c * scale`` in channel ``c``.

    FQ-ViT (arXiv 2111.13824), equation 8.

    Attributes:
        scale: The layer's scale.
        zero_point: The layer's zero point.
        exponents: One exponent from 0 to 3 for each channel, int64 ``[channels]``.
        qmax: Largest code.
    """

    scale: float
    zero_point: int
    exponents: NDArray[np.int64]
    qmax: int

    @property
    def channel_scales(self) -> NDArray[np.float64]:
        """``2^exponent * scale`` of each channel, ``[channels]``."""
        return np.ldexp(self.scale, self.exponents)

    def _scales_on(self, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self.channel_scales).float().to(device)

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float values ``[..., channels]``, uint8."""
        scales = self._scales_on(x.device)
        return (x / scales).round_().add_(self.zero_point).clamp_(0, self.qmax).to(torch.uint8)

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """Values of codes ``[..., channels]``, float32."""
        return (codes.float() - self.zero_point) * self._scales_on(codes.device)


class PowerOfTwoSearch:
    """Finds each channel's exponent by squared error over the whole calibration set.

    Args:
        low: Smallest value of the tensor over the calibration set.
        high: Largest value there.
        bits: Width of the codes.
    """

    def __init__(self, low: float, high: float, bits: int) -> None:
        low, high = min(low, 0.0), max(high, 0.0)
        self._qmax = (1 << bits) - 1
        coarsest = single(max((high - low) / self._qmax, SMALLEST_SCALE))
        self._zero_point = min(max(round(-low / coarsest), 0), self._qmax)
        # 2^3 times the layer scale covers the full range; it stays a float32 number.
        self._scale = coarsest / (1 << LARGEST_EXPONENT)
        self._errors: torch.Tensor | None = None

    def observe(self, x: torch.Tensor) -> None:
        """Adds one batch ``[..., channels]`` to the squared errors of all exponents."""
        flat = x.reshape(-1, x.shape[-1])
        errors = []
        for exponent in range(LARGEST_EXPONENT + 1):
            scale = self._scale * (1 << exponent)
            codes = (flat / scale).round_().clamp_(-self._zero_point, self._qmax - self._zero_point)
            errors.append(codes.mul_(scale).sub_(flat).square_().sum(0, dtype=torch.float64))
        batch = torch.stack(errors)
        self._errors = batch if self._errors is None else self._errors + batch

    def grid(self) -> PowerOfTwoGrid:
        """The grid with the least-error exponent of every channel (the smaller one on ties)."""
        if self._errors is None:
            raise ValueError("observe at least one batch before asking for the grid")
        exponents = self._errors.argmin(0).cpu().numpy()
        return PowerOfTwoGrid(self._scale, self._zero_point, exponents, self._qmax)


def fit_codebook(counts: NDArray[np.float64], levels: int) -> NDArray[np.uint8]:
    """The codes that stand for all with the least squared error, ascending, at most ``levels`` of them.

    The optimum of Lloyd's and Max's quantizer, by dynamic programming over the borders between levels, exact
    but for rounding centroids to codes.

    Args:
        counts: How often each code occurs, ``[256]``.
        levels: How many codes may stay.

    Returns:
        The codes; evenly over the grid where ``counts`` are all zero, as those of a constant tensor are.
    """
    if not counts.any():
        return np.rint(np.linspace(0, GRID_CODES - 1, levels)).astype(np.uint8)
    codes = np.arange(GRID_CODES, dtype=np.float64)
    mass, first, second = (
        np.concatenate([[0.0], np.cumsum(counts * power)]) for power in (1.0, codes, codes**2)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = mass[None] - mass[:, None]
        centroid = np.where(weight > 0, (first[None] - first[:, None]) / weight, 0.0)
    error = (second[None] - second[:, None]) - centroid * (first[None] - first[:, None])
    error = np.where(np.tri(GRID_CODES + 1, dtype=bool), 0.0, np.maximum(error, 0.0))
    error[np.tril_indices(GRID_CODES + 1, -1)] = np.inf
    least = error[0]
    starts = []
    for _ in range(levels - 1):
        candidates = least[:, None] + error
        start = candidates.argmin(0)
        starts.append(start)
        least = candidates[start, np.arange(GRID_CODES + 1)]
    end = GRID_CODES
    found = []
    for start in [*reversed(starts), np.zeros(GRID_CODES + 1, dtype=np.int64)]:
        begin = int(start[end])
        if weight[begin, end] > 0:
            found.append(round(float(centroid[begin, end])))
        end = begin
    return np.unique(np.array(found, dtype=np.uint8))


def codebook_lookup(levels: NDArray[np.uint8]) -> torch.Tensor:
    """The nearest level of every code, the lower one of two, uint8 ``[256]``."""
    codes = np.arange(GRID_CODES, dtype=np.int64)
    distance = np.abs(codes[:, None] - levels.astype(np.int64)[None])
    return torch.from_numpy(levels[distance.argmin(1)])
