"""Makes torchvision (and so timm) importable beside a torch build that its binary extension does not fit."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import torch

_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")

_registered: list[torch.library.Library] = []


@functools.cache
def ensure_torchvision() -> None:
    """Registers the operator schemas that importing torchvision needs, where its extension does not load.

    torchvision's wheels are built against CUDA; beside a CPU build of torch their extension does not load,
    and its import fails with ``operator torchvision::nms does not exist``. Its transforms and data
    sets need no operator, so the bare schemas are enough. Call this before the first import of torchvision or
    timm in every process; further calls, and calls on an installation that is whole, change nothing.
    """
    if "torchvision" in sys.modules or _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        library.define(f"{operator}{_ARGUMENTS}")  # type: ignore[no-untyped-call]
    _registered.append(library)  # the schemas last as long as this object


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None:  # not installed: importing it says so better than we can
        return True
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    candidates = [folder / f"_C{suffix}" for folder in folders for suffix in suffixes]
    for library in filter(Path.is_file, candidates):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except (ImportError, OSError):
            continue
        return True
    return False
