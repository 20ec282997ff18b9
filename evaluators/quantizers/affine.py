"""The affine grid: one scale and zero point for a whole activation tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

# The smallest scale, so that a constant tensor still has a grid.
SMALLEST_SCALE = 1e-8


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
