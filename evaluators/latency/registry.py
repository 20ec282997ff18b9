"""The names of latency sources and of the runtimes that latency can be measured in; loads none of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES, runtime_is_installed, runtime_named
from bitfront.spaces import SCHEMES, UserError
from bitfront.spaces.quantities import count_of
from bitfront.spaces.schemes import AUTO, DEPLOY, FQ_VIT

if TYPE_CHECKING:
    from bitfront.evaluators.latency.timed_runtime import TimedRuntime

# The kinds of sources: measured:RUNTIME, table:FILE and model:PROFILE.
MEASURED, TABLE, MODEL = "measured", "table", "model"
TORCH = "torch"
# The settings that say what a latency is of: images of a batch, threads of an inference.
LATENCY_LOAD = ("latency_batch", "latency_threads")
# Which runtime measures where none is named, the quickest first; torch where none of these is installed.
PREFERRED = ("openvino", "onnxruntime")
PROFILES = Path(__file__).resolve().parent / "profiles"
PROFILE_SUFFIX = ".toml"


@dataclass(frozen=True)
class TimedRuntimeKind:
    """A runtime that may be asked for.

    Attributes:
        schemes: The schemes that it can run.
        load: Loads it to run on so many threads; raises :class:`UserError` where it is not installed.
    """

    schemes: tuple[str, ...]
    load: Callable[[int], TimedRuntime]


def _torch(threads: int) -> TimedRuntime:
    from bitfront.evaluators.latency.torch_runtime import TorchRuntime

    return TorchRuntime(threads)


def _graph(name: str) -> TimedRuntimeKind:
    def load(threads: int) -> TimedRuntime:
        from bitfront.evaluators.latency.graph_runtime import GraphRuntime

        return GraphRuntime(runtime_named(name), threads)

    return TimedRuntimeKind((DEPLOY,), load)


TIMED_RUNTIMES: dict[str, TimedRuntimeKind] = {
    TORCH: TimedRuntimeKind(tuple(SCHEMES), _torch),
    **{name: _graph(name) for name in RUNTIMES},
}


def settled(scheme: str, latency: str = AUTO) -> tuple[str, str]:
    """The scheme and the latency source, each as it suits the other where it is ``auto``.

    The scheme is ``deploy`` where latency is measured in a runtime of CPUs, which is also what ``auto`` does
    where one is installed; that of the table where latencies are read from one; else ``fq-vit``, which is for
    integer accelerators, whose latency is modelled.

    Args:
        scheme: A name, or ``auto``.
        latency: What ``--latency`` says, or ``auto``.

    Raises:
        UserError: The file of a table cannot be read.
    """
    kind, _, rest = latency.partition(":")
    installed = next((name for name in PREFERRED if runtime_is_installed(name)), None)
    if scheme == AUTO:
        scheme = FQ_VIT
        if (latency == AUTO and installed) or (kind == MEASURED and rest in RUNTIMES):
            scheme = DEPLOY
        if kind == TABLE and rest:
            from bitfront.evaluators.latency.table_file import read_table

            scheme = read_table(Path(rest)).scheme or FQ_VIT
    if latency == AUTO:
        latency = f"{MEASURED}:{installed}" if scheme == DEPLOY and installed else MEASURED
    return scheme, latency


def load_in_words(batch: int, threads: int) -> str:
    """What a latency is of, such as ``batch 8`` or ``batch 1, 2 threads``."""
    return f"batch {batch}" if threads == 1 else f"batch {batch}, {threads} threads"


def settled_batch(name: str, own: int | None, asked: int | None) -> int:
    """The images of a batch.

    Args:
        name: Of the latency source.
        own: The only batch that it has times for; None where any can be asked for.
        asked: What was asked for; None for its own, or 1.

    Raises:
        UserError: It is for another batch.
    """
    return _settled_number("--latency-batch", "batch", f"{name} is for batches of {own}", own, asked)


def settled_threads(name: str, own: int | None, asked: int | None) -> int:
    """The threads of an inference; see :func:`settled_batch`."""
    has = f"{name} is for {count_of(own or 1, 'thread')}"
    return _settled_number("--latency-threads", "number", has, own, asked)


def _settled_number(option: str, what: str, has: str, own: int | None, asked: int | None) -> int:
    if own is None:
        return 1 if asked is None else asked
    if asked not in (None, own):
        raise UserError(
            f"{option} {asked}: {has}: leave the option out, or give a table for that {what} "
            f"(`bitfront latency-table {option} {asked}`)"
        )
    return own


def timed_runtime_named(name: str, scheme: str, threads: int = 1) -> TimedRuntime:
    """The runtime of that name, on so many threads.

    Raises:
        UserError: It cannot run the scheme, or is not installed.
    """
    kind = TIMED_RUNTIMES[name]
    if scheme not in kind.schemes:
        raise UserError(
            f"measured:{name} runs scheme {', '.join(kind.schemes)} only, not {scheme}: give --scheme "
            f"{kind.schemes[0]}, or --latency measured:{TORCH}"
        )
    return kind.load(threads)


def runtime_of_table(source: str, scheme: str, threads: int = 1) -> TimedRuntime:
    """The runtime that a table was measured in where it runs here, else torch.

    Args:
        source: The table's source, which may name a runtime, such as ``table:a.csv (measured:openvino)``.
        scheme: The quantization scheme.
        threads: Those of the table.
    """
    match = re.search(r"measured:(\w+)", source)
    if match and match.group(1) in TIMED_RUNTIMES:
        try:
            return timed_runtime_named(match.group(1), scheme, threads)
        except UserError:  # it is not installed: any runtime is better than none
            pass
    return timed_runtime_named(TORCH, scheme, threads)


def shipped_profiles() -> tuple[str, ...]:
    """Names of the hardware profiles that come with the package."""
    return tuple(sorted(path.stem for path in PROFILES.glob(f"*{PROFILE_SUFFIX}")))
