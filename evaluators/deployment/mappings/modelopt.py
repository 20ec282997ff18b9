"""Bits for NVIDIA ModelOpt: the configuration that ``modelopt.torch.quantization.quantize`` takes."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.deployment.mappings.assignment import Assignment, LayerAssignment


class ModelOptMapping:
    """One entry of ``quant_cfg`` for each quantizer, by its full name; all others are off.

    Weights have a scale for each output channel; activations one for the tensor, found by the calibration
    algorithm ``max``. An attention matrix is the input of the Dropout behind softmax.
    """

    name = "modelopt"
    package = "nvidia-modelopt"
    tried = "0.47.0"

    def mapping(self, assignment: Assignment) -> dict[str, Any]:
        """What ``mtq.quantize`` takes as its configuration."""
        entries: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
        for assigned in assignment.layers:
            entries += _layer(assigned)
        for module, bits in assignment.attention:
            entries.append(_entry(f"{module}.input_quantizer", bits, unsigned=True))
        return {"quant_cfg": entries, "algorithm": "max"}

    def notes(self, assignment: Assignment) -> list[str]:  # noqa: ARG002
        """What the configuration cannot say."""
        return [
            "Activations are on grids around zero, and attention matrices on uniform ones, where bitfront "
            "has zero points and, to 4 bits, logarithmic codes.",
            "Attention needs timm's unfused attention and a quantized Dropout, registered before quantize.",
        ]


def _layer(assigned: LayerAssignment) -> list[dict[str, Any]]:
    name = assigned.layer.name
    entries = [
        _entry(f"{name}.weight_quantizer", assigned.weights, axis=0),
        _entry(f"{name}.input_quantizer", assigned.inputs),
    ]
    if assigned.outputs is not None:
        entries.append(_entry(f"{name}.output_quantizer", assigned.outputs))
    return entries


def _entry(quantizer: str, bits: int, axis: int | None = None, unsigned: bool = False) -> dict[str, Any]:
    return {"quantizer_name": quantizer, "cfg": {"num_bits": bits, "axis": axis, "unsigned": unsigned}}
