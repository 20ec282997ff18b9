"""Compiled OpenVINO models of parts: called like functions of arrays, on a stated number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bitfront.evaluators.generation.parts import Part

DEVICE, HALF = "CPU", "bf16"


def computes_half() -> bool:
    """Whether this processor has products of bfloat16."""
    import openvino

    return "BF16" in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def precision_of(part: Part, formats: Mapping[str, str]) -> str:
    """What float products of a part are computed in: ``bf16`` where all of it is, and the processor can."""
    return HALF if {formats[gene] for gene in part.genes} == {HALF} and computes_half() else "f32"


class CompiledPart:
    """A part that runs.

    Args:
        model: The assembled OpenVINO model.
        precision: Of float products: ``f32`` or ``bf16``.
        threads: That it computes on; with one, equal inputs give equal outputs to the bit.
    """

    def __init__(self, model: Any, precision: str, threads: int) -> None:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        self._request = openvino.Core().compile_model(model, DEVICE, settings).create_infer_request()

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The output, float32, of tensors ``[n, ...]``."""
        found = self._request.infer({i: tensor.contiguous().numpy() for i, tensor in enumerate(tensors)})[0]
        return torch.from_numpy(np.array(found, dtype=np.float32))
