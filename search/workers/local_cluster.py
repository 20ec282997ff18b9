"""The workers of this machine: a Dask cluster of processes, and what they may use."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.context.machine import available_cpus, readable_dask_settings
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line
from bitfront.spaces.quantities import BYTES, count_of, read_quantity

if TYPE_CHECKING:
    from distributed import LocalCluster
    from distributed.security import Security

logger = logging.getLogger(__name__)

# Less does not hold torch and a model.
LEAST_MEMORY = 100_000_000
LOOPBACK = "127.0.0.1"
_IGNORE_INTERRUPT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
NEVER_S = 10 * 365 * 86_400
_OF_WORKERS = ("distributed.", "temporary-directory")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_lock = threading.Lock()
_users = 0
_before = ExitStack()


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of the machine that decide what becomes of an evaluation, but nothing of its result.

    Attributes:
        evaluation_timeout_s: Seconds after which an evaluation counts as hung; None for 20 times the longest
            one so far, but at least 5 minutes.
        memory_bytes: Most memory that a worker of this machine may take; None for an equal share.
        patience_s: Seconds for which a lost scheduler, or one without workers, is waited for.
        preparation_timeout_s: Seconds that loading and preparing the model may take on a worker.
    """

    evaluation_timeout_s: float | None = None
    memory_bytes: int | None = None
    patience_s: float = 600.0
    preparation_timeout_s: float = 3600.0


def parse_memory(text: str) -> int:
    """Reads a size such as ``4GB`` or ``500MiB`` in bytes.

    Raises:
        UserError: The text has another form, or is too little for any worker.
    """
    size = read_quantity(text, BYTES)
    if size is None:
        raise UserError(f"--worker-memory {text!r} is not a size: write 4GB or 500MiB")
    if size < LEAST_MEMORY:
        raise UserError(f"--worker-memory {text} is too little for a worker: give at least 100MB")
    return int(size)


def available_workers(device: str = "cpu") -> int:
    """How many worker processes suit this machine: one for each CPU that may be used, or one for a GPU."""
    return available_cpus() if device == "cpu" else 1


def equal_share(workers: int) -> int:
    """The memory that a worker of this machine may take by default, in bytes."""
    from distributed.system import MEMORY_LIMIT  # what psutil finds, within the limits of containers

    return int(MEMORY_LIMIT) // workers


@contextmanager
def dask_settings(threads: int | None) -> Iterator[None]:
    """Dask's settings for as long as a pool lives: nannies read them again when they replace a worker.

    What was set before is set again when the last of several pools of this process has ended.

    Args:
        threads: Batches that each worker of this machine classifies at a time; None where none is started.
    """
    global _users
    with readable_dask_settings():
        import dask.config
        import distributed  # noqa: F401 - has the loggers

    with _lock:
        _users += 1
        if threads is not None:
            _before.push(dask.config.set(_for_workers(threads)))
        _before.callback(_silence_dask())
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _before.close()


def _for_workers(threads: int) -> dict[str, object]:
    return {
        "distributed.worker.preload": [_IGNORE_INTERRUPT],
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREAD_VARIABLES, threads),
        # A worker holds nothing of Dask's that it could spill, and pausing would only stall it.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 1.0,
        # After that, Dask would give up on a worker that is being replaced, if only for the second time.
        "distributed.deploy.lost-worker-timeout": NEVER_S,
    }


def _silence_dask() -> Callable[[], None]:
    """Keeps Dask's own messages from the terminal: what matters of them is told in other words.

    Returns:
        Lets it speak again.
    """
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)

    def restore() -> None:
        for logger, level in levels.items():
            logger.setLevel(level)

    return restore


def own_credentials() -> Security | None:
    """Keys that this cluster's processes alone have, made for it; None where ``cryptography`` is missing.

    Whoever reaches a port of Dask can have programs run, and everybody on this machine reaches its loopback.
    """
    if find_spec("cryptography") is None:
        logger.debug("ports of workers are open to this machine: pip install 'bitfront[tls]' closes them")
        return None
    from distributed.security import Security

    return Security.temporary()


def start_cluster(workers: int, memory_bytes: int) -> LocalCluster:
    """Starts worker processes; one that takes more memory than it may is ended and replaced.

    They listen on the loopback address alone, and with :func:`own_credentials` to each other alone.

    :func:`dask_settings` must be in force until the cluster has ended.

    Args:
        workers: How many.
        memory_bytes: Most memory of each, in bytes.

    Raises:
        UserError: No worker is asked for.
        BitfrontError: They did not start.
    """
    from distributed import LocalCluster

    if workers < 1:
        raise UserError(f"--workers {workers}: give at least 1")
    try:
        with _interrupts_ignored():
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=LOOPBACK,
                security=own_credentials(),
                memory_limit=memory_bytes,
                dashboard_address=f"{LOOPBACK}:0",
                silence_logs=logging.CRITICAL + 1,
            )
    except Exception as error:
        raise not_started(workers, error) from error


def not_started(workers: int, error: BaseException | None = None) -> BitfrontError:
    """The error for workers of this machine that do not appear: why, and what Dask was set to."""
    why = " in time"
    if error is not None:
        root = error
        while root.__cause__ or root.__context__:
            root = root.__cause__ or root.__context__ or root
        first, cause = one_line(error).rstrip("."), f"{type(root).__name__}: {one_line(root)}"
        why = f": {first}" + ("" if root is error or one_line(root) in first else f" ({cause})")
    names = site_settings()
    if names:
        files = ", ".join(_settings_files()) or "DASK_ variables"
        why += (
            f"; settings of Dask were made on this machine ({', '.join(names)}, by {files}): try without them"
        )
    return BitfrontError(f"the {count_of(workers, 'evaluation worker')} did not start{why}")


def site_settings() -> list[str]:
    """Names of Dask's settings that somebody has made on this machine and that workers start by."""
    import dask.config

    def names(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
        for name, value in settings.items():
            whole = f"{prefix}{name}".replace("_", "-")
            if isinstance(value, Mapping):
                yield from names(value, f"{whole}.")
            else:
                yield whole

    return [name for name in names(dask.config.collect()) if name.startswith(_OF_WORKERS)]


def _settings_files() -> list[str]:
    """The files that Dask reads settings from."""
    import dask.config

    found = (file for folder in map(Path, dask.config.paths) for file in sorted(folder.glob("*.y*ml")))
    return [str(file) for file in found if any(dask.config.collect_yaml([str(file)]))]


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Lets processes that start meanwhile inherit that SIGINT is ignored (preloading comes late).

    Only the main thread can set that; workers that another thread starts rely on the preloading alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
