"""The runtimes that latency can be measured in, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bitfront.evaluators.latency.timed_runtime import TimedRuntime
from bitfront.evaluators.latency.torch_runtime import TorchRuntime
from bitfront.spaces import SCHEMES, UserError

TORCH = "torch"


@dataclass(frozen=True)
class RuntimeEntry:
    """A runtime that may be asked for.

    Attributes:
        schemes: The schemes that it can run.
        load: Loads it; raises :class:`UserError` where it is not installed.
    """

    schemes: tuple[str, ...]
    load: Callable[[], TimedRuntime]


def _graph(name: str) -> RuntimeEntry:
    def load() -> TimedRuntime:
        from bitfront.evaluators.latency.graph_runtime import graph_runtime

        return graph_runtime(name)

    return RuntimeEntry(("deploy",), load)


RUNTIMES: dict[str, RuntimeEntry] = {
    TORCH: RuntimeEntry(SCHEMES, TorchRuntime),
    "openvino": _graph("openvino"),
    "onnxruntime": _graph("onnxruntime"),
}


def runtime_named(name: str, scheme: str) -> TimedRuntime:
    """The runtime of that name.

    Raises:
        UserError: It cannot run the scheme, or is not installed.
    """
    entry = RUNTIMES[name]
    if scheme not in entry.schemes:
        raise UserError(
            f"measured:{name} runs scheme {', '.join(entry.schemes)} only, not {scheme}: give --scheme "
            f"{entry.schemes[0]}, or --latency measured:{TORCH}"
        )
    return entry.load()


def runtime_of_table(source: str, scheme: str) -> TimedRuntime:
    """The runtime that a table was measured in where it runs here, else torch.

    Args:
        source: The table's source, which may name a runtime, such as ``table:a.csv (measured:openvino)``.
        scheme: The quantization scheme.
    """
    match = re.search(r"measured:(\w+)", source)
    if match and match.group(1) in RUNTIMES:
        try:
            return runtime_named(match.group(1), scheme)
        except UserError:  # it is not installed: any runtime is better than none
            pass
    return runtime_named(TORCH, scheme)
