"""The processor of this machine, as Linux describes it."""

from __future__ import annotations

import platform
from pathlib import Path


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
