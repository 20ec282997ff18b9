"""The power-of-two-factor grid of the residual stream (PTF)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.affine import SMALLEST_SCALE, single

LARGEST_EXPONENT = 3


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
        high: Largest value likewise.
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
