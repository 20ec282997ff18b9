"""Modelled energy: what every operator's products and data take by a hardware profile, added up.

Operators are those of the modelled latency (:mod:`bitfront.evaluators.latency.roofline`). One takes the
energy of its multiply-accumulates and of the bytes that it moves, weights once for a batch: energies add up
where times overlap. What a machine takes while it waits is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from bitfront.evaluators.latency.energy_figures import EnergyFigures
from bitfront.evaluators.latency.hardware_profile import HardwareProfile, profile_named
from bitfront.evaluators.latency.registry import MODEL, shipped_profiles
from bitfront.evaluators.latency.roofline import Operator, parts_summed
from bitfront.evaluators.latency.summed_cost import SummedCost
from bitfront.evaluators.latency.table import timed_encoders
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.spaces import Choices, FormatName, UserError

_PICOJOULES_PER_MILLIJOULE = 10**9


def picojoules(figures: EnergyFigures, operators: Iterable[Operator]) -> Fraction:
    """Energy of operators."""
    total = Fraction(0)
    for operator in operators:
        total += operator.macs * figures.mac(operator.operands)
        total += Fraction(operator.weight_bits, 8) * figures.weight_byte
        total += Fraction(operator.bits_moved - operator.weight_bits, 8) * figures.activation_byte
    return total


def energy_cost(
    profile: HardwareProfile,
    blueprint: Blueprint,
    choices: Choices | Sequence[FormatName],
    scheme: str,
    batch: int = 1,
) -> SummedCost:
    """The energy of one image in millijoules.

    Args:
        profile: The machine; it has energies.
        blueprint: The model.
        choices: Formats of the search.
        scheme: The quantization scheme.
        batch: Images of a batch, which share what its weights take.
    """
    figures = profile.energy
    assert figures is not None, "energy_profile gives profiles that have them"
    found = parts_summed(
        lambda operators: picojoules(figures, operators),
        blueprint,
        choices,
        scheme,
        batch,
        float_bits=profile.float_bits,
    )

    def millijoules(energy: Fraction) -> float:
        return float(energy / _PICOJOULES_PER_MILLIJOULE / batch)

    return SummedCost(
        f"{MODEL}:{profile.name}",
        {key: millijoules(energy) for key, energy in found.encoders.items()},
        millijoules(found.rest),
        millijoules(found.float_model),
        timed_encoders(blueprint),
    )


def energy_profile(asked: str, latency: str) -> HardwareProfile:
    """The profile that energy is computed by.

    Args:
        asked: What ``--energy`` says, such as ``model:horowitz45``; empty for that of latency.
        latency: What ``--latency`` says.

    Raises:
        UserError: It is no profile, or has no energies.
    """
    kind, _, name = (asked or latency).partition(":")
    having = ", ".join(f"{MODEL}:{found}" for found in profiles_with_energy())
    if kind != MODEL or not name:
        said = f"--energy {asked!r} is no hardware profile" if asked else "energy needs a hardware profile"
        raise UserError(f"{said}: give --energy {having}, or {MODEL}:FILE.toml with a section [energy]")
    profile = profile_named(name)
    if profile.energy is None:
        raise UserError(
            f"profile {name} has no energies, as no source says them: give --energy {having}, or "
            f"{MODEL}:FILE.toml with a section [energy]"
        )
    return profile


def profiles_with_energy() -> tuple[str, ...]:
    """Names of the shipped profiles that have energies."""
    return tuple(name for name in shipped_profiles() if profile_named(name).energy is not None)


def energy_notes(profile: HardwareProfile) -> tuple[str, ...]:
    """What must be known of energies by a profile, one line each."""
    assert profile.energy is not None, "energy_profile gives profiles that have them"
    return (
        f"energies by {MODEL}:{profile.name} are modelled, not measured: operations and data, without what a "
        f"machine takes while it waits (source: {profile.energy.source})",
    )
