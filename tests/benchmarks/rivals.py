"""Other quantizers of the same float model: NVIDIA's ModelOpt and OpenVINO's NNCF.

Neither is needed by anything else: both are imported when they are first asked for, and may lie in a folder
of their own that ``PYTHONPATH`` names.
"""

from __future__ import annotations

import copy
import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from bitfront.evaluators.context.throughput import Classify
from bitfront.spaces import UserError

# Mean bits per weight that AutoQuantize is asked for.
TARGETS = (8.0, 7.0, 6.0, 5.0, 4.5)
# Of the range of each output channel, by least squared error: finer than ModelOpt's default steps of a tenth.
SQUARED_ERROR = {"method": "mse", "step_size": 0.025, "start_multiplier": 0.3, "stop_multiplier": 1.0}
FLOAT_BYTES = 4
HOW_TO_INSTALL = {
    "modelopt": "pip install --target FOLDER --no-deps nvidia-modelopt omegaconf 'pulp<4' "
    "antlr4-python3-runtime==4.9.3 pydantic pydantic-core annotated-types typing-inspection regex "
    "nvidia-ml-py ninja setuptools",
    "nncf": "pip install --target FOLDER --no-deps nncf pydot tabulate ninja",
}


class Rival(NamedTuple):
    """A model that another tool quantized.

    Attributes:
        tool: Its name.
        method: How it was quantized.
        bits: Of weights and activations.
        file_bytes: What it takes in a file.
        logits: Of the images that it is judged on, ``[images, classes]``.
    """

    tool: str
    method: str
    bits: str
    file_bytes: int
    logits: torch.Tensor


@dataclass(frozen=True, eq=False)
class Subject:
    """What every rival is given.

    Attributes:
        module: The float model; it is not changed.
        calibration: Batches of normalised images and labels.
        classify: Logits of the images to be judged on.
    """

    module: nn.Module
    calibration: Sequence[tuple[torch.Tensor, torch.Tensor]]
    classify: Callable[[Classify], torch.Tensor]


def required(package: str) -> Any:
    """A rival's package.

    Raises:
        UserError: It is not installed; says how it can be.
    """
    try:
        logging.getLogger(package).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"{package} cannot be imported ({error}): install it in a folder of its own with "
            f"`{HOW_TO_INSTALL[package.partition('.')[0]]}`, and name the folder in PYTHONPATH"
        ) from error


def modelopt_rivals(subject: Subject) -> Iterator[Rival]:
    """Uniform 8- and 4-bit weights, and mixtures of the two by AutoQuantize; activations have 8 bits.

    Quantization is simulated there. A file has the bits of each weight and a float32 scale for each output
    channel, and all that is no weight of a linear layer in float32.
    """
    quantization = required("modelopt.torch.quantization")
    whole = [(images, labels) for images, labels in subject.calibration]

    def calibrate(model: nn.Module) -> None:
        for images, _ in whole:
            model(images)

    def rival(method: str, model: nn.Module) -> Rival:
        mean, total = _modelopt_bytes(model)
        with torch.inference_mode():
            logits = subject.classify(model.eval())
        return Rival("ModelOpt", method, f"{mean:.1f} / 8", total, logits)

    for ranges, algorithm in (("largest value", "max"), ("squared error", SQUARED_ERROR)):
        for bits in (8, 4):
            model = copy.deepcopy(subject.module)
            yield rival(
                f"uniform, {ranges}", quantization.quantize(model, _format(bits, algorithm), calibrate)
            )
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            # What the first target found of every layer is kept for the others.
            model, _ = quantization.auto_quantize(
                copy.deepcopy(subject.module),
                constraints={"effective_bits": target},
                quantization_formats=[_format(4, SQUARED_ERROR), _format(8, SQUARED_ERROR)],
                data_loader=whole,
                forward_step=lambda model, batch: model(batch[0]),
                loss_func=lambda logits, batch: nn.functional.cross_entropy(logits, batch[1]),
                num_calib_steps=len(whole),
                num_score_steps=len(whole),
                method="gradient",
                checkpoint=str(Path(folder) / "scores.pth"),
            )
            yield rival(f"AutoQuantize to {target:g} bits", model)


def _format(bits: int, algorithm: str | dict[str, Any]) -> dict[str, Any]:
    """Weights by output channel, inputs by tensor; everything else stays in float."""
    return {
        "quant_cfg": [
            {"quantizer_name": "*", "enable": False},
            {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": bits, "axis": 0}},
            {"quantizer_name": "*input_quantizer", "cfg": {"num_bits": 8, "axis": None}},
        ],
        "algorithm": algorithm,
    }


def _modelopt_bytes(model: nn.Module) -> tuple[float, int]:
    """Mean bits of the weights of its linear layers, and bytes of a file."""
    weights, bits, scales = 0, 0, 0
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        quantizer: Any = module.weight_quantizer
        on = bool(quantizer.is_enabled)
        weights += module.weight.numel()
        bits += module.weight.numel() * (int(quantizer.num_bits) if on else 8 * FLOAT_BYTES)
        scales += len(module.weight) if on else 0
    rest = sum(parameter.numel() for parameter in model.parameters()) - weights
    return bits / weights, bits // 8 + FLOAT_BYTES * (scales + rest)


def nncf_rivals(subject: Subject) -> Iterator[Rival]:
    """Weights of 4 bits by three methods, with activations in float, and 8 bits for both; in OpenVINO.

    Sizes are those of the weights that OpenVINO saves, with what stays in float in 16 bits.
    """
    nncf, openvino = required("nncf"), importlib.import_module("openvino")
    images = [image[None].numpy() for batch, _ in subject.calibration for image in batch]
    shape = images[0].shape
    whole = openvino.convert_model(copy.deepcopy(subject.module), example_input=torch.zeros(shape))
    whole.reshape([-1, *shape[1:]])
    data, mode = nncf.Dataset(images), nncf.CompressWeightsMode
    compressed: dict[str, dict[str, Any]] = {
        "AWQ, scale estimation": {"mode": mode.INT4_SYM, "awq": True, "scale_estimation": True},
        "GPTQ": {"mode": mode.INT4_SYM, "gptq": True},
        "groups of 64, asymmetric": {"mode": mode.INT4_ASYM},
    }
    for method, options in compressed.items():
        given = {"dataset": data, "subset_size": len(images)} if len(options) > 1 else {}
        model = nncf.compress_weights(whole.clone(), group_size=64, ratio=1.0, **options, **given)
        yield _openvino_rival(openvino, method, "4 / float", model, subject)
    model = nncf.quantize(whole.clone(), data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(images))
    yield _openvino_rival(openvino, "post-training quantization", "8 / 8", model, subject)


def _openvino_rival(openvino: Any, method: str, bits: str, model: Any, subject: Subject) -> Rival:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path)
        size = path.with_suffix(".bin").stat().st_size
    precision = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", precision)
    logits = subject.classify(lambda x: torch.from_numpy(compiled([x.numpy()])[0].copy()))
    return Rival("NNCF", method, bits, size, logits)


RIVALS: tuple[Callable[[Subject], Iterator[Rival]], ...] = (modelopt_rivals, nncf_rivals)
