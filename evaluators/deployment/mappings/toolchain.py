"""The toolchains that a bit config can be written for, by name."""

from __future__ import annotations

from typing import Any, Protocol

from bitfront.evaluators.deployment.mappings.assignment import Assignment
from bitfront.evaluators.deployment.mappings.modelopt import ModelOptMapping
from bitfront.evaluators.deployment.mappings.nncf import NncfMapping
from bitfront.evaluators.deployment.mappings.torchao import TorchaoMapping
from bitfront.spaces import UserError


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
