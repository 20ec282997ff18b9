"""The environment of a run: machine and versions, for environment.json."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.machine import cpu_name, cpuinfo

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext


PACKAGES = (
    "bitfront",
    "torch",
    "timm",
    "onnx",
    "onnxruntime",
    "openvino",
    "numpy",
    "pymoo",
    "moocore",
    "optuna",
    "distributed",
    "numba",
    "pandas",
    "scikit-learn",
    "scipy",
)
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")


def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, memory and package versions of this process."""
    import psutil

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_flags": _cpu_flags(),
        "cpus_logical": os.cpu_count(),
        "cpus_physical": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def describe_evaluator(context: EvaluationContext) -> dict[str, Any]:
    """What evaluates and how: device, batch size, threads, kernels and what they cannot use here."""
    kernels = context.prepared.kernels
    return {
        "device": context.spec.device,
        "batch_size": context.spec.batch_size,
        "threads": context.spec.threads,
        "kernels": kernels.description,
        "kernel_notes": list(kernels.notes),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_flags() -> list[str]:
    """Those of the flags that matter to integer kernels."""
    found = set((cpuinfo("flags") or cpuinfo("Features")).split())
    return [flag for flag in _CPU_FLAGS if flag in found]
