"""Hardware profiles: how quickly a machine multiplies and moves data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

Pair = tuple[int, int]


@dataclass(frozen=True)
class HardwareProfile:
    """What a machine can do; exact fractions, so that sums do not depend on their order.

    Attributes:
        name: As latency sources name it.
        description: What it describes, and how far to trust it.
        source: Where the figures come from.
        rates: Multiply-accumulates per second by the widths of both operands, the narrower first.
        float_rate: The same for the float model's operands; None where bit operations decide.
        bit_operations: Bit operations per second, in the place of rates.
        float_bits: Bits of a value of the float model, and of what a scheme leaves in float.
        bytes_per_second: Memory bandwidth; None where moving data is free.
        encoder_seconds: Added for every encoder.
        operator_seconds: Added for every operator.
    """

    name: str
    description: str
    source: str
    rates: Mapping[Pair, Fraction] = field(default_factory=dict)
    float_rate: Fraction | None = None
    bit_operations: Fraction | None = None
    float_bits: int = 32
    bytes_per_second: Fraction | None = None
    encoder_seconds: Fraction = Fraction(0)
    operator_seconds: Fraction = Fraction(0)

    def rate(self, first: int, second: int) -> Fraction:
        """Multiply-accumulates per second of operands of these widths."""
        if self.bit_operations is not None:
            return self.bit_operations / (first * second)
        pair = self.pair(first, second)
        return self.whole_rate if pair is None else self.rates[pair]

    @property
    def whole_rate(self) -> Fraction:
        """Multiply-accumulates per second of the float model."""
        if self.bit_operations is not None:
            return self.bit_operations / self.float_bits**2
        assert self.float_rate is not None, "a profile without bit operations has a float rate"
        return self.float_rate

    def pair(self, first: int, second: int) -> Pair | None:
        """The pair whose rate operands of these widths run at: the nearest one that holds both.

        None where there is none, so that they run as float does.
        """
        low, high = sorted((first, second))
        holding = [pair for pair in self.rates if pair[0] >= low and pair[1] >= high]
        return min(holding, key=lambda pair: (pair[0] * pair[1], -self.rates[pair]), default=None)

    def notes(self, widths: Iterable[int]) -> tuple[str, ...]:
        """What must be known of times by this profile, one line each."""
        modelled = f"latencies by model:{self.name} are modelled, not measured: {self.description}"
        return (f"{modelled} (source: {self.source})", *self._stand_ins(widths))

    def _stand_ins(self, widths: Iterable[int]) -> list[str]:
        """Which pairs it has no rate for, by what stands in for them."""
        if self.bit_operations is not None:
            return []
        ascending = sorted(set(widths))
        missing: dict[str, list[str]] = {}
        for low in ascending:
            for high in ascending[ascending.index(low) :]:
                found = self.pair(low, high)
                if found != (low, high):
                    stand_in = "float" if found is None else _named(found)
                    missing.setdefault(stand_in, []).append(_named((low, high)))
        return [
            f"model:{self.name} has no rate for operands of {', '.join(pairs)} bits: that of {stand_in} is "
            "taken"
            for stand_in, pairs in missing.items()
        ]


def _named(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"
