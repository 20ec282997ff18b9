"""Bits for NNCF: the placement of quantizers that ``nncf.torch.load_from_config`` restores."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.deployment.mappings.assignment import Assignment, LayerAssignment

_INPUT, _WEIGHT = 0, 1  # ports of a layer's operator


class NncfMapping:
    """A ``SymmetricQuantizer`` before or behind the operator of each layer, named as NNCF names its hooks.

    Weights have a scale for each output channel; activations one for the tensor. An attention matrix is the
    input of the Dropout behind softmax.
    """

    name = "nncf"
    package = "nncf"
    tried = "3.4.0"

    def mapping(self, assignment: Assignment) -> dict[str, Any]:
        """What ``nncf.torch.get_config`` would write of the model with its quantizers."""
        quantizers: list[dict[str, Any]] = []
        for assigned in assignment.layers:
            quantizers += _layer(assigned)
        for module, bits in assignment.attention:
            hook = f"pre_hooks.{_operator(module, 'dropout')}__{_INPUT}.0"
            quantizers.append(_quantizer(hook, bits, [1], signed=False))
        return {"compression_state": quantizers}

    def notes(self, assignment: Assignment) -> list[str]:
        """What the placement cannot say."""
        notes = [
            "It places quantizers and gives them their widths; their scales are to be set from data.",
            "Activations are on grids around zero, and attention matrices on uniform ones, where bitfront "
            "has zero points and, to 4 bits, logarithmic codes.",
            "Attention needs timm's unfused attention.",
        ]
        widths = {width for a in assignment.layers for width in (a.weights, a.inputs)}
        if widths | {bits for _, bits in assignment.attention} != {8}:
            notes.append("nncf.strip turns 8-bit quantizers alone into torch's own.")
        return notes


def _layer(assigned: LayerAssignment) -> list[dict[str, Any]]:
    layer = assigned.layer
    operator = _operator(layer.name, "conv2d" if layer.convolution else "linear")
    scales = [layer.outputs, 1, 1, 1] if layer.convolution else [layer.outputs, 1]
    quantizers = [
        _quantizer(f"pre_hooks.{operator}__{_INPUT}.0", assigned.inputs, [1]),
        _quantizer(f"pre_hooks.{operator}__{_WEIGHT}.0", assigned.weights, scales),
    ]
    if assigned.outputs is not None:
        quantizers.append(_quantizer(f"post_hooks.{operator}__0.0", assigned.outputs, [1]))
    return quantizers


def _operator(module: str, function: str) -> str:
    """The name of the first call of a function inside a module, with slashes as hooks have it."""
    return f"{module.replace('.', '/')}/{function}/0"


def _quantizer(hook: str, bits: int, scales: list[int], signed: bool = True) -> dict[str, Any]:
    return {
        "hook_names_in_model": [hook],
        "module_path": "nncf.torch.quantization.layers",
        "module_cls_name": "SymmetricQuantizer",
        "module_config": {
            "num_bits": bits,
            "mode": "symmetric",
            "signedness_to_force": signed,
            "narrow_range": False,
            "half_range": False,
            "scale_shape": scales,
            "logarithm_scale": False,
            "is_quantized_on_export": False,
        },
    }
