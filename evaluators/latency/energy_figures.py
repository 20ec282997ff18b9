"""What a machine's operations and its data cost in energy, as a hardware profile says.

The section ``[energy]`` says in ``source`` where its figures come from, and in
``picojoules_per_weight_byte`` and ``picojoules_per_activation_byte`` what moving a byte takes.
``[energy.picojoules_per_mac]`` has picojoules of a multiply-accumulate for ``float`` and for pairs of operand
widths such as ``"8x8"``, in either order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from bitfront.evaluators.latency.profile_reading import Pair, by_pair, check_keys, positive, section, words

_WHERE, _MACS = "energy.", "picojoules_per_mac"
_WEIGHT, _ACTIVATION = "picojoules_per_weight_byte", "picojoules_per_activation_byte"
_KEYS = ("source", _MACS, _WEIGHT, _ACTIVATION)


@dataclass(frozen=True)
class EnergyFigures:
    """Energies in picojoules; exact fractions, so that sums do not depend on their order.

    Attributes:
        source: Where they come from.
        macs: Of a multiply-accumulate by the widths of both operands, the narrower first.
        float_mac: Of one of floats.
        weight_byte: Of a byte of weights that is moved.
        activation_byte: Of a byte of anything else.
    """

    source: str
    macs: Mapping[Pair, Fraction]
    float_mac: Fraction
    weight_byte: Fraction
    activation_byte: Fraction

    def mac(self, operands: Pair | None) -> Fraction:
        """Picojoules of a multiply-accumulate of operands of these widths; None for float.

        It is that of the nearest pair that holds both, or of float where there is none.
        """
        if operands is None:
            return self.float_mac
        low, high = sorted(operands)
        holding = [pair for pair in self.macs if pair[0] >= low and pair[1] >= high]
        nearest = min(holding, key=lambda pair: (pair[0] * pair[1], self.macs[pair]), default=None)
        return self.float_mac if nearest is None else self.macs[nearest]


def read_energy(document: Mapping[str, Any]) -> EnergyFigures | None:
    """The figures of a profile's document, None where it has none; ValueError says what is wrong."""
    if "energy" not in document:
        return None
    found = section(document, "energy")
    check_keys(found, _KEYS, _WHERE)
    macs = section(found, _MACS, _WHERE)
    if "float" not in macs or len(macs) < 2:
        raise ValueError(f'[{_WHERE}{_MACS}] needs float and at least one pair of widths, such as "8x8"')
    return EnergyFigures(
        words(found, "source", _WHERE),
        by_pair(macs, f"{_WHERE}{_MACS}"),
        positive(macs, "float", f"{_WHERE}{_MACS}."),
        positive(found, _WEIGHT, _WHERE),
        positive(found, _ACTIVATION, _WHERE),
    )
