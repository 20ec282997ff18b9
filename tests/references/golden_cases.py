"""Golden models in ONNX Runtime, with every site's codes beside those that the evaluator shows."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import quantized_cases
import torch
from onnx import helper
from quantized_cases import case as case

from bitfront.evaluators.quantized.kernels.attention_terms import UPPER_BYTE
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.spaces import BitConfig

SCHEME = "fq-vit"
UNIT = 2.0**15
LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "default": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


prepared = functools.partial(quantized_cases.prepared, SCHEME)


def session(model: onnx.ModelProto | Path, level: str = "default") -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime at one of :data:`LEVELS`."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def evaluated(
    model: PreparedModel, config: BitConfig, images: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The evaluator's logits, and codes of every site in the shape of the golden model's."""
    seen: dict[str, torch.Tensor] = {}
    assembled = model.assemble(config)
    assembled(images, lambda site, value: seen.__setitem__(site, value.clone()))
    logits = assembled(images)
    found = {site: _codes(model, config, site, value) for site, value in seen.items()}
    return logits, {
        site: value.unflatten(0, (len(images), -1)) if value.dim() == 2 and site != "head" else value
        for site, value in found.items()
    }


def _codes(model: PreparedModel, config: BitConfig, site: str, value: torch.Tensor) -> torch.Tensor:
    """Codes of what the evaluator shows: of attention and logits, it shows values."""
    if site == "head":
        grid = model.calibration.grid("head", 8)
        return torch.round(value / grid.scale) + grid.zero_point
    if site.endswith("attn.softmax"):
        encoder = next(e for e in config.encoders if site.startswith(f"{e.name}."))
        grid = model.calibration.grid(site, encoder.attention)
        if isinstance(grid, MinifloatGrid):
            return torch.round(value / grid.scale) * UPPER_BYTE
        if encoder.attention <= 4:
            return value * UNIT
        return torch.round(value / grid.scale)
    return value


def observed(
    graph: onnx.ModelProto, sites: dict[str, torch.Tensor], images: torch.Tensor, level: str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The golden model's logits and the tensors of some names."""
    graph = onnx.ModelProto.FromString(graph.SerializeToString())
    kinds = {info.name: info.type for info in onnx.shape_inference.infer_shapes(graph).graph.value_info}
    for site in sites:
        info = helper.make_tensor_value_info(site, kinds[site].tensor_type.elem_type, None)
        graph.graph.output.append(info)
    values: list[Any] = session(graph, level).run(None, {"images": images.numpy()})
    logits, *others = (torch.from_numpy(np.asarray(value)) for value in values)
    return logits, dict(zip(sites, others, strict=True))
