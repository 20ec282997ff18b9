"""Where the codes of a tensor lie among the bytes that kernels multiply, and how they are kept there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces.precision import MAX_BITS

WIDEST = (1 << MAX_BITS) - 1
# From unsigned codes to signed ones of the same values.
SIGNED = 128


@dataclass(frozen=True)
class ByteLayout:
    """Which unsigned bytes are codes; signed ones are these less :data:`SIGNED`.

    Attributes:
        zero: Byte that stands for zero, or for what the zero point was folded into.
        low: That of the least code.
        high: That of the largest code.
    """

    zero: int
    low: int
    high: int

    @classmethod
    def of(cls, grid: AffineGrid, zero: int) -> ByteLayout:
        """Codes as they are."""
        return cls(zero, 0, grid.qmax)

    @classmethod
    def centred(cls, grid: AffineGrid) -> ByteLayout:
        """Codes about the middle byte: attention kernels of integers have no other zero point.

        As many codes as there are bytes lie where they are.
        """
        if grid.qmax == WIDEST:
            return cls.of(grid, grid.zero_point)
        return cls(SIGNED, SIGNED - grid.zero_point, SIGNED - grid.zero_point + grid.qmax)

    def clipped(self, writer: GraphWriter, x: str, scale: float) -> str:
        """Floats within what codes stand for."""
        return self._clip(writer, x, lambda code: np.array((code - self.zero) * scale, np.float32))

    def clipped_codes(self, writer: GraphWriter, codes: str, *, signed: bool) -> str:
        """Bytes within the codes."""
        return self._clip(writer, codes, lambda code: byte(code, signed=signed))

    def _clip(self, writer: GraphWriter, x: str, bound: Callable[[int], NDArray[Any]]) -> str:
        """A clip at the ends that are not those of bytes, at which codes saturate by themselves."""
        if (self.low, self.high) == (0, WIDEST):
            return x
        low, high = (
            "" if code == end else writer.constant(bound(code))
            for code, end in ((self.low, 0), (self.high, WIDEST))
        )
        return writer.op("Clip", x, low, high)


def byte(code: int, *, signed: bool) -> NDArray[Any]:
    """An unsigned byte, or the signed one of the same value."""
    return np.array(code - SIGNED, np.int8) if signed else np.array(code, np.uint8)
