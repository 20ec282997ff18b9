"""The runtimes by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from bitfront.evaluators.deployment.runtimes.runtime import Runtime
from bitfront.spaces import UserError


def _openvino() -> Runtime:
    from bitfront.evaluators.deployment.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime()


def _onnxruntime() -> Runtime:
    from bitfront.evaluators.deployment.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime()


# By name: what makes the runtime.
_RUNTIMES: dict[str, Callable[[], Runtime]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}


RUNTIME_NAMES = tuple(_RUNTIMES)


def runtime_is_installed(name: str) -> bool:
    """Whether the library of a known runtime can be imported."""
    return importlib.util.find_spec(name) is not None


def runtime_named(name: str) -> Runtime:
    """A runtime.

    Raises:
        UserError: The name is unknown, or the library is not installed.
    """
    if name not in _RUNTIMES:
        raise UserError(f"unknown runtime {name!r}: choose one of {', '.join(RUNTIME_NAMES)}")
    if not runtime_is_installed(name):
        raise UserError(f"{name} is not installed: pip install {name}, or pip install 'bitfront[runtimes]'")
    return _RUNTIMES[name]()
