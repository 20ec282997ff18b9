"""Bits for torchao: an ``FqnToConfig`` as its ``config_to_dict`` writes it."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.deployment.mappings.assignment import Assignment, LayerAssignment

_ACTIVATIONS = 8  # bits of the only integer activations that its configurations have


class TorchaoMapping:
    """Weights of each layer at their own width, activations at 8 bits, scaled for every token.

    Where weights and activations have 8 bits, ``Int8DynamicActivationInt8WeightConfig`` multiplies integers;
    narrower weights take ``Int8DynamicActivationIntxWeightConfig``. A convolution is left out: the one
    configuration that can run it has a scale for each of its kernel's places, for three weights where images
    have three channels.
    """

    name = "torchao"
    package = "torchao"
    tried = "0.18.0"

    def mapping(self, assignment: Assignment) -> dict[str, Any]:
        """What ``torchao.core.config.config_from_dict`` takes."""
        by_name = {assigned.layer.name: _layer(assigned) for assigned in _linear(assignment)}
        return _config("FqnToConfig", 1, {"fqn_to_config": by_name})

    def notes(self, assignment: Assignment) -> list[str]:
        """What the configurations cannot say."""
        linear = _linear(assignment)
        narrow = sum(assigned.inputs < _ACTIVATIONS for assigned in linear)
        notes = [
            "Activations are scaled for each token when the model runs: no range is calibrated.",
            "Queries, keys, values and attention matrices stay float: torchao sees layers with weights only.",
        ]
        if len(linear) < len(assignment.layers):
            notes.append("The patch embedding stays float: it is a convolution.")
        if narrow:
            notes.append(
                f"{narrow} layers have 8-bit inputs where the bit config has fewer: torchao has no others."
            )
        return notes


def _linear(assignment: Assignment) -> list[LayerAssignment]:
    return [assigned for assigned in assignment.layers if not assigned.layer.convolution]


def _layer(assigned: LayerAssignment) -> dict[str, Any]:
    if assigned.weights == _ACTIVATIONS:
        return _config("Int8DynamicActivationInt8WeightConfig", 2, {})
    width = {"_type": "torch.dtype", "_data": f"int{assigned.weights}"}
    return _config(
        "Int8DynamicActivationIntxWeightConfig",
        2,
        {"weight_dtype": width, "weight_granularity": _config("PerAxis", 1, {"axis": 0})},
    )


def _config(kind: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"_type": kind, "_version": version, "_data": data}
