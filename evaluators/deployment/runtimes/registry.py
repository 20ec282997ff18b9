"""The runtimes by name; loads one, and the library that it needs, only when it is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from bitfront.spaces import UserError
from bitfront.spaces.plugins import Plugin, plugins

if TYPE_CHECKING:
    from bitfront.evaluators.deployment.runtimes.runtime import Runtime

# What runs packed files: this package.
BITFRONT = "bitfront"


def _onnxruntime() -> Runtime:
    from bitfront.evaluators.deployment.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime()


def _openvino() -> Runtime:
    from bitfront.evaluators.deployment.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime()


def _packed() -> Runtime:
    from bitfront.evaluators.deployment.runtimes.packed import PackedRuntime

    return PackedRuntime()


def _plugged(plugin: Plugin) -> Callable[[], Runtime]:
    return lambda: cast("Runtime", plugin.load_callable()())


# By name, which is that of the library, too: what makes the runtime. They execute graphs.
_OWN: dict[str, Callable[[], Runtime]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
# Those of other packages do not take the place of one of these.
_PLUGINS = {name: found for name, found in plugins("bitfront.runtimes").items() if name not in _OWN}
RUNTIMES = {**_OWN, **{name: _plugged(found) for name, found in _PLUGINS.items()}}


def runtime_is_installed(name: str) -> bool:
    """Whether the library of a known runtime can be imported; other packages have theirs with them."""
    return name in _PLUGINS or importlib.util.find_spec(name) is not None


def runtime_named(name: str) -> Runtime:
    """A runtime.

    Raises:
        UserError: The name is unknown, or the library is not installed.
    """
    known = {**RUNTIMES, BITFRONT: _packed}
    if name not in known:
        raise UserError(f"unknown runtime {name!r}: choose one of {', '.join(RUNTIMES)}")
    if not runtime_is_installed(name):
        raise UserError(f"{name} is not installed: pip install {name}, or pip install 'bitfront[runtimes]'")
    return known[name]()
