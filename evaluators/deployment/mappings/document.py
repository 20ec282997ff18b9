"""The JSON document of a mapping: what a toolchain reads, what it cannot be told, and the bit config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitfront.evaluators.deployment.mappings.assignment import assign
from bitfront.evaluators.deployment.mappings.layers import ModelLayer
from bitfront.evaluators.deployment.mappings.toolchain import ToolMapping
from bitfront.spaces import BitConfig

FORMAT = "bitfront/mapping"
VERSION = 1
_ALWAYS = (
    "It is for the float model as timm builds it: ranges are the toolchain's to find, and nothing that a "
    "recipe of bitfront changed in the weights is in it."
)
_FLOAT_HERE = "Residual stream, scores and positions stay float, where scheme fq-vit has integers."


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
        layers: Of the model, by :func:`bitfront.evaluators.deployment.mappings.model_layers`.
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
