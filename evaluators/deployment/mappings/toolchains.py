"""The toolchains: bits in the words of torchao, of NNCF and of NVIDIA ModelOpt."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.deployment.mappings.assignment import Assignment, LayerAssignment

_ACTIVATIONS = 8  # bits of the only integer activations that its configurations have
_INPUT, _WEIGHT = 0, 1  # ports of a layer's operator


class TorchaoMapping:
    """An ``FqnToConfig`` as torchao's ``config_to_dict`` writes it.

    Weights of each layer at their own width, activations at 8 bits, scaled for every token.

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
        by_name = {assigned.layer.name: _torchao_layer(assigned) for assigned in _linear(assignment)}
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


def _torchao_layer(assigned: LayerAssignment) -> dict[str, Any]:
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


def _altered(assignment: Assignment) -> list[str]:
    """What becomes of the operands of attention where something is between them and their layer."""
    if not any(assigned.layer.altered for assigned in assignment.layers):
        return []
    return [
        "Queries and keys are rounded as their layer yields them, where bitfront rounds them behind their "
        "norms and rotations."
    ]


class NncfMapping:
    """The placement of quantizers that ``nncf.torch.load_from_config`` restores.

    A ``SymmetricQuantizer`` before or behind the operator of each layer, named as NNCF names its hooks.

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
            quantizers += _nncf_layer(assigned)
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
        notes += _altered(assignment)
        widths = {width for a in assignment.layers for width in (a.weights, a.inputs)}
        if widths | {bits for _, bits in assignment.attention} != {8}:
            notes.append("nncf.strip turns 8-bit quantizers alone into torch's own.")
        return notes


def _nncf_layer(assigned: LayerAssignment) -> list[dict[str, Any]]:
    layer = assigned.layer
    operator = _operator(layer.caller or layer.name, "conv2d" if layer.convolution else "linear")
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


class ModelOptMapping:
    """The configuration that ``modelopt.torch.quantization.quantize`` takes.

    One entry of ``quant_cfg`` for each quantizer, by its full name; all others are off.

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
            if assigned.layer.caller is None:  # it has quantizers in layers that are called alone
                entries += _modelopt_layer(assigned)
        for module, bits in assignment.attention:
            entries.append(_entry(f"{module}.input_quantizer", bits, unsigned=True))
        return {"quant_cfg": entries, "algorithm": "max"}

    def notes(self, assignment: Assignment) -> list[str]:
        """What the configuration cannot say."""
        notes = [
            "Activations are on grids around zero, and attention matrices on uniform ones, where bitfront "
            "has zero points and, to 4 bits, logarithmic codes.",
            "Attention needs timm's unfused attention and a quantized Dropout, registered before quantize.",
        ]
        bypassed = sum(assigned.layer.caller is not None for assigned in assignment.layers)
        if bypassed:
            notes.append(
                f"{bypassed} layers of queries, keys and values stay float: timm takes their weights without "
                "calling them."
            )
        return notes + _altered(assignment)


def _modelopt_layer(assigned: LayerAssignment) -> list[dict[str, Any]]:
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
