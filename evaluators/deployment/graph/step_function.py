"""A kernel's way from float32 values to codes, read off the kernel itself and kept as a table.

GELU is where kernels part: libraries approximate the error function in ways of their own, so that next to the
border between two codes the order of the codes may change several times from one float32 number to the next.
A table that has every such number reproduces a kernel to the bit, in operators that any runtime has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import BitfrontError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
# Codes of float32 values.
Codes = Callable[[F32], U8]

# Below it GELU is zero; its error function is 1 in float32 from about 4 on, either way.
LEAST = -8.0
# Values looked at first: a few for each step of the output, and evenly over all float32 numbers in question.
PER_STEP, SPREAD, MOST = 8, 1 << 16, 1 << 20
# Numbers on either side of a border that are looked at one by one; more while codes change in the outer half.
NEIGHBOURS = 256
# A table has as many bins as keep its entries below this.
ENTRIES, BINS, SMALLEST = 1 << 16, 1 << 22, 1e-30
# Of the bias that stands for a value: any float32 number of more than 2^-37 is a multiple of it.
STEP = 2.0**-60


def gelu_codes(kernels: Kernels, out: AffineGrid, codebook: torch.Tensor | None) -> Codes:
    """Codes that the linear layers of a set of kernels make of values, by way of their GELU.

    Args:
        kernels: What computes.
        out: Grid of the codes.
        codebook: The level that stands for each code, where there is one.
    """

    def codes(values: F32) -> U8:
        # A layer of one input, which is zero: its outputs are its biases.
        weight = QuantizedWeight(
            torch.zeros(len(values), 1, dtype=torch.int8), torch.full((len(values),), STEP), 8
        )
        layer = kernels.linear(weight, torch.from_numpy(values))
        nothing = torch.zeros(1, 1, dtype=torch.uint8)
        found = layer.to_codes(nothing, AffineGrid(1.0, 0, 255), out, gelu=True, codebook=codebook)
        numbers: U8 = found.numpy()[0]
        return numbers

    return codes


def ordinal(values: F32) -> I64:
    """The place of float32 numbers in their order; that of zero is 0."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def value_of(ordinals: I64) -> F32:
    """The inverse of :func:`ordinal`."""
    bits = np.where(ordinals < 0, -ordinals | 0x80000000, ordinals).astype(np.uint32)
    return bits.view(np.float32)


@dataclass(frozen=True)
class Bins:
    """Bins of equal width; every operation is one of float32, as in a graph.

    Attributes:
        low: Where the first bin begins; what is below is in it, too.
        high: Within the last bin; what is above is in it, too.
        per_unit: Bins per unit.
    """

    low: float
    high: float
    per_unit: float

    def of(self, values: F32) -> I64:
        """The bin of each value."""
        low, high, per_unit = map(np.float32, (self.low, self.high, self.per_unit))
        found: I64 = np.floor((np.clip(values, low, high) - low) * per_unit).astype(np.int64)
        return found

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.of(np.array([self.high], np.float32))[0]) + 1


@dataclass(frozen=True, eq=False)
class StepTable:
    """Codes of float32 values by bins, each with one stretch of numbers in which codes change.

    The code of ``x`` in bin ``b`` is ``codes[offset[b] + clip((x - start[b]) * inverse[b], 0, last[b])]``,
    every operation in float32.

    Attributes:
        bins: The bins.
        start: Number before the first change within each bin, float32 ``[bins]``.
        inverse: Of the distance of two neighbouring numbers there, float32 ``[bins]``.
        last: Entries of each bin, less one, float32 ``[bins]``.
        offset: Place of each bin's first entry, float32 ``[bins]``.
        codes: The entries, uint8.
    """

    bins: Bins
    start: F32
    inverse: F32
    last: F32
    offset: F32
    codes: U8

    @classmethod
    def of(cls, codes: Codes, out: AffineGrid) -> StepTable:
        """Reads off a function that is constant below -8, and where it has reached the last code.

        Args:
            codes: The function.
            out: Grid of its codes.

        Raises:
            BitfrontError: It changes too often for a table.
        """
        borders = _borders(codes, out)
        if not len(borders):  # one code for all
            borders = ordinal(np.ones(1, np.float32))
        values = value_of(borders)
        low, high, count = float(values[0]), float(values[-1]), 1
        while count <= BINS:
            bins = Bins(low, high, count / max(high - low, SMALLEST))
            place = bins.of(values)
            first = np.nonzero(np.diff(place, prepend=-1))[0]
            last = np.append(first[1:], len(place)) - 1
            stretches = _Stretches.between(place[first], borders[first] - 1, borders[last])
            if stretches.lengths.sum() < ENTRIES:
                return cls._filled(codes, bins, stretches)
            count *= 2
        raise BitfrontError("the GELU of a layer has too many steps for a table: choose another recipe")

    @classmethod
    def _filled(cls, codes: Codes, bins: Bins, stretches: _Stretches) -> StepTable:
        """The table; a bin without changes has the code before it alone."""
        place, lengths = stretches.bins, stretches.lengths
        ends = np.cumsum(lengths + 1)
        start, inverse, last, offset = np.zeros((4, bins.count), np.float32)
        start[place], inverse[place] = stretches.start, 1.0 / stretches.unit
        last[place], offset[place] = lengths, ends - lengths - 1
        behind = np.zeros(bins.count, np.int64)
        behind[place] = ends - 1
        unchanged = np.ones(bins.count, bool)
        unchanged[place] = False
        offset[unchanged] = np.maximum.accumulate(behind)[unchanged]
        return cls(bins, start, inverse, last, offset, codes(stretches.numbers()))

    def __call__(self, values: F32) -> U8:
        """Codes of values, as a graph looks them up."""
        place = self.bins.of(values)
        within = np.maximum((values - self.start[place]) * self.inverse[place], np.float32(0.0))
        entry = np.minimum(within, self.last[place]) + self.offset[place]
        found: U8 = self.codes[entry.astype(np.int64)]
        return found


@dataclass(frozen=True, eq=False)
class _Stretches:
    """Float32 numbers from before the first change of some bins to their last one.

    Attributes:
        bins: The bins.
        start: First number of each stretch, float32.
        unit: Distance of neighbouring numbers, the smaller one where it changes on the way, float32.
        lengths: Of each stretch, in units.
    """

    bins: I64
    start: F32
    unit: F32
    lengths: I64

    @classmethod
    def between(cls, bins: I64, first: I64, last: I64) -> _Stretches:
        """The stretches of some bins by the ordinals of their ends."""
        start, end = value_of(first), value_of(last)
        unit = np.minimum(np.spacing(np.abs(start)), np.spacing(np.abs(end)))
        lengths = np.rint((end.astype(np.float64) - start) / unit).astype(np.int64)
        return cls(bins, start, unit, lengths)

    def numbers(self) -> F32:
        """All numbers, one stretch after the other."""
        parts = zip(self.start.astype(np.float64), self.unit, self.lengths, strict=True)
        return np.concatenate([start + unit * np.arange(n + 1) for start, unit, n in parts]).astype(
            np.float32
        )


def _borders(codes: Codes, out: AffineGrid) -> I64:
    """Ordinals of all numbers whose code is not that of the number before."""
    crossings = _crossings(codes, _samples(out))
    reach, found = NEIGHBOURS, [crossings[:0]]
    while len(crossings):
        around = np.unique((crossings[:, None] + np.arange(-reach, reach + 1)).ravel())
        seen = codes(value_of(around))
        changes = around[1:][(seen[1:] != seen[:-1]) & (np.diff(around) == 1)]
        places = np.searchsorted(crossings, changes)
        left = crossings[np.maximum(places - 1, 0)]
        right = crossings[np.minimum(places, len(crossings) - 1)]
        far = np.minimum(np.abs(changes - left), np.abs(changes - right)) > reach // 2
        found.append(changes)
        crossings, reach = np.unique(changes[far]), 2 * reach
    return np.unique(np.concatenate(found))


def _samples(out: AffineGrid) -> I64:
    """Ordinals of numbers between which a code changes but once, noise apart."""
    most = 2.0 * (out.qmax + 2) * out.scale + 8.0
    count = int(min(PER_STEP * (most - LEAST) / out.scale, MOST))
    even = ordinal(np.linspace(LEAST, most, count).astype(np.float32))
    ends = ordinal(np.array([LEAST, most], np.float32))
    return np.unique(np.concatenate([even, np.linspace(ends[0], ends[1], SPREAD).astype(np.int64)]))


def _crossings(codes: Codes, samples: I64) -> I64:
    """Ordinals of changes between samples, found by bisection."""
    seen = codes(value_of(samples))
    left, right, before, after = samples[:-1], samples[1:], seen[:-1], seen[1:]
    found = []
    while True:
        kept = before != after
        left, right, before, after = left[kept], right[kept], before[kept], after[kept]
        near = right - left == 1
        found.append(right[near])
        if near.all():
            return np.unique(np.concatenate(found))
        left, right, before, after = left[~near], right[~near], before[~near], after[~near]
        middle = (left + right) // 2
        between = codes(value_of(middle))
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        before, after = np.concatenate([before, between]), np.concatenate([between, after])
