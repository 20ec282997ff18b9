"""The toolchains that a bit config can be written for, by name, and the document that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bitfront.evaluators.deployment.mappings.assignment import Assignment, ModelLayer, assign
from bitfront.evaluators.deployment.mappings.toolchains import ModelOptMapping, NncfMapping, TorchaoMapping
from bitfront.spaces import BitConfig, UserError

FORMAT = "bitfront/mapping"
VERSION = 1
_ALWAYS = (
    "It is for the float model as timm builds it: ranges are the toolchain's to find, and nothing that a "
    "recipe of bitfront changed in the weights is in it."
)
_FLOAT_HERE = "Residual stream, scores and positions stay float, where scheme fq-vit has integers."


class ToolMapping(Protocol):
    """Says the same bits in the words of another toolchain."""

    name: str
    package: str  # as its index calls it
    tried: str  # the version that loaded and applied such a mapping

    def mapping(self, assignment: Assignment) -> dict[str, Any]:
        """What the toolchain's own function takes, of JSON values alone."""

    def notes(self, assignment: Assignment) -> list[str]:
        """What the toolchain cannot be told of this assignment, a sentence each."""


MAPPINGS: dict[str, ToolMapping] = {
    mapping.name: mapping for mapping in (TorchaoMapping(), NncfMapping(), ModelOptMapping())
}


def mapping_named(name: str) -> ToolMapping:
    """The mapping for a toolchain; raises :class:`UserError` for an unknown one."""
    if name not in MAPPINGS:
        raise UserError(f"unknown toolchain {name!r}: choose one of {', '.join(MAPPINGS)}")
    return MAPPINGS[name]


def to_document(
    tool: ToolMapping,
    config: BitConfig,
    layers: Sequence[ModelLayer],
    measured: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of an exported file; the toolchain is given what is under ``mapping``.

    Args:
        tool: The toolchain.
        config: The bits.
        layers: Of the model, by :func:`bitfront.evaluators.deployment.mappings.assignment.model_layers`.
        measured: What was measured of the configuration.
        provenance: Where it comes from.

    Raises:
        UserError: The configuration is not one of this model.
    """
    assignment = assign(config, layers)
    schemes = [_FLOAT_HERE] if config.scheme == "fq-vit" else []
    return {
        "format": FORMAT,
        "version": VERSION,
        "toolchain": {"name": tool.name, "package": tool.package, "tried": tool.tried},
        "notes": [_ALWAYS, *schemes, *tool.notes(assignment)],
        "mapping": tool.mapping(assignment),
        "bit_config": config.to_json(measured, provenance),
    }
