"""This machine: the device that evaluates, its processor and CPUs, and its versions, for environment.json."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "bitfront", "torch", "timm", "onnx", "onnxruntime", "openvino", "numpy", "pymoo", "moocore", "optuna",
    "distributed", "numba", "pandas", "scikit-learn", "scipy",
)  # fmt: skip
# Of NVIDIA, of AMD, and of Windows below Linux.
_GPU_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# Those that matter to integer kernels.
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")


def device_named(text: str) -> torch.device:
    """The device ``cpu``, ``cuda`` (the first GPU) or ``cuda:N``.

    Raises:
        UserError: Another name, a torch without CUDA, no GPU, or fewer GPUs than that.
    """
    import torch

    if text == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d{1,4}))?", text)
    if match is None:
        raise UserError(f"--device {text!r} is unknown: give cpu, cuda or cuda:N, such as cuda:0")
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]  # torch does not annotate it
        raise UserError(
            f"--device {text}: this torch ({torch.__version__}) is built without CUDA: install a CUDA build, "
            "or give --device cpu"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise UserError(f"--device {text}: torch finds no GPU: check the driver, or give --device cpu")
    index = int(match.group(1) or 0)
    if index >= count:
        there = "the one GPU is cuda:0" if count == 1 else f"there are cuda:0 to cuda:{count - 1}"
        raise UserError(f"--device {text}: there is no such GPU: {there}")
    return torch.device("cuda", index)


@contextmanager
def readable_dask_settings() -> Iterator[None]:
    """Turns a file of settings that Dask refuses, when it is imported, into the project's error.

    Raises:
        UserError: There is such a file.
    """
    try:
        yield
    except ValueError as error:
        if "dask config file" not in str(error):
            raise
        raise UserError(f"{one_line(error)}: mend that file, or move it away") from error


def available_cpus() -> int:
    """How many logical CPUs this process may use: within its affinity and the quota of its container.

    A quota of a part of a CPU counts as a whole one.
    """
    with readable_dask_settings():
        from dask.system import cpu_count  # of cgroups, too, in both of their versions

    return int(cpu_count())


def cpuinfo(key: str) -> str:
    """The first value of a key in Linux's processor description; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def cpu_name() -> str:
    """What the processor is called, such as ``AMD EPYC``."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def is_this_machine(machine: str) -> bool:
    """Whether that is the name of this machine's processor or of one of its GPUs."""
    if machine == cpu_name():
        return True
    if not _may_have_gpus():  # torch takes longer to load than many a command takes
        return False
    import torch

    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return machine in map(torch.cuda.get_device_name, gpus)


def _may_have_gpus() -> bool:
    """Whether there is a driver that torch could find GPUs by: on Linux it shows in the file system."""
    return sys.platform != "linux" or any(map(os.path.exists, _GPU_DRIVERS))


def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, memory and package versions of this process."""
    import psutil

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_flags": [flag for flag in _CPU_FLAGS if flag in cpu_flags()],
        "cpus_logical": os.cpu_count(),
        "cpus_physical": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def rounding_of(device: torch.device) -> str:
    """What sums of floats are rounded by: the GPU, or the instruction sets that torch uses."""
    import torch

    cuda = device.type == "cuda"
    return torch.cuda.get_device_name(device) if cuda else str(torch.backends.cpu.get_cpu_capability())


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets, as Linux on x86 and on ARM names them; empty elsewhere."""
    return frozenset((cpuinfo("flags") or cpuinfo("Features")).split())
