"""Whether a configuration fits a model."""

from __future__ import annotations

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.spaces import BitConfig, UserError, pinned_bits


def check_config(config: BitConfig, blueprint: Blueprint, scheme: str) -> None:
    """Compares a configuration with the model and the scheme that it shall be assembled for.

    Raises:
        UserError: It is for another scheme, other encoders or layers.
    """
    if config.scheme != scheme:
        raise UserError(
            f"the bit config is for scheme {config.scheme!r}; this model was prepared for {scheme!r}"
        )
    _check_encoders(config, blueprint)
    if config.pinned != pinned_bits(scheme):
        raise UserError(
            f"the bit config pins {dict(config.pinned)}; scheme {scheme!r} runs {dict(pinned_bits(scheme))}"
        )
    for parts, bits in zip(blueprint.encoders, config.encoders, strict=True):
        unknown = bits.named_layers() - set(parts.linear())
        if unknown:
            raise UserError(
                f"bit config: {bits.name} has no layer {', '.join(sorted(unknown))}; "
                f"its layers are {', '.join(parts.linear())}"
            )


def _check_encoders(config: BitConfig, blueprint: Blueprint) -> None:
    names = [encoder.name for encoder in blueprint.encoders]
    theirs = [encoder.name for encoder in config.encoders]
    if len(theirs) == len(names) and theirs != names:
        differing = next(pair for pair in zip(theirs, names, strict=True) if pair[0] != pair[1])
        raise UserError(
            f"the bit config names an encoder {differing[0]}, where {blueprint.name} has "
            f"{differing[1]}: give the model that it was searched for"
        )
    if theirs != names:
        raise UserError(
            f"the bit config has {len(config.encoders)} encoders, but {blueprint.name} has "
            f"{len(names)}: give the model that it was searched for"
        )
