"""The range of whole numbers of more than 8 bits: what files say, or what a data set holds.

A file of 16 or 32 bits for each pixel may hold 8, 10, 12 or 14 of them, as cameras and scanners write, and
mostly does not say so. One image does not tell: it may be dark. A data set does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.data.source import CorruptImageError, ImageSource, declared_bits, is_of_whole_numbers
from bitfront.spaces import UserError

# Images of a data set that are looked at, spread evenly over it.
LOOKED_AT = 64
# Bits that devices have; the least that hold every value are taken.
DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class SampleDepth:
    """What the whole numbers of a data set are read as.

    Attributes:
        bits: The bits that values have; None where no image that was looked at tells.
        largest: The largest value in these.
        images: How many of these do not say themselves what bits they have.
    """

    bits: int | None
    largest: int
    images: int

    def words(self, images: int, total: int) -> str:
        """What is done with so many images of a split out of all, in a sentence."""
        held = f"{images} of {total} images hold whole numbers of more than 8 bits a pixel"
        if self.bits is None:
            return f"{held}: their upper 8 bits are taken, where timm would clip values at 255"
        told = f"at most {self.largest} in {self.images} images"
        if self.bits <= DEPTHS[0]:
            return f"{held}, {told}: taken as they are, as timm does"
        return f"{held}, {told}: read as {self.bits} bits, where timm would clip values at 255"


def depth_of(source: ImageSource) -> SampleDepth:
    """The range of a data set's whole numbers, by images at fixed places of it.

    Raises:
        UserError: Most images would be black in the range of the brightest one.
    """
    found: list[tuple[int, int]] = []  # largest value and position
    for index in np.unique(np.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).astype(np.int64)):
        try:
            image = source.load(int(index))
        except CorruptImageError:
            continue
        if is_of_whole_numbers(image) and declared_bits(image) is None:
            largest = int(np.asarray(image).max())
            if largest < 1 << DEPTHS[-1]:  # others are refused when they are loaded
                found.append((largest, int(index)))
    if not found:
        return SampleDepth(None, 0, 0)
    found.sort()
    most, brightest = found[-1]
    bits = next(bits for bits in DEPTHS if most < 1 << bits)
    middle, usual = found[len(found) // 2]
    if middle >> max(0, bits - 8) == 0 < most:
        raise UserError(
            f"images of {source.name} hold whole numbers of several ranges: at most {middle} in "
            f"{source.describe(usual)} and {most} in {source.describe(brightest)}; expected one range for "
            "all: save them with 8 bits"
        )
    return SampleDepth(bits, most, len(found))
