"""A bit config by module names, in the formats that other quantization toolchains read."""

from bitfront.evaluators.deployment.mappings.assignment import Assignment, assign
from bitfront.evaluators.deployment.mappings.document import to_document
from bitfront.evaluators.deployment.mappings.layers import ModelLayer, model_layers
from bitfront.evaluators.deployment.mappings.toolchain import MAPPINGS, ToolMapping, mapping_named

__all__ = [
    "MAPPINGS",
    "Assignment",
    "ModelLayer",
    "ToolMapping",
    "assign",
    "mapping_named",
    "model_layers",
    "to_document",
]
