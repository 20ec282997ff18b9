"""The lock of a run: one process at a time may write to a run folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bitfront.evaluators.atomic import explained
from bitfront.spaces import UserError


class RunLock:
    """Holds ``run.lock`` exclusively within a ``with`` block; the system frees it when the process dies.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "run.lock"
        self._descriptor = -1

    def __enter__(self) -> RunLock:
        self._descriptor = lock_file(self._path, self._taken)
        return self

    def _taken(self, holder: str) -> UserError:
        return UserError(
            f"run {self._path.parent.name} is being written by {holder}: wait for it or end it, or choose "
            "another --run"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def lock_file(path: Path, taken: Callable[[str], Exception]) -> int:
    """Locks a file exclusively, making it if need be, and notes this process in it.

    Args:
        path: The file.
        taken: Makes the error of who holds it, such as ``process 123``.

    Returns:
        A descriptor; closing it, or the end of the process, frees the lock.

    Raises:
        UserError: The folder is not writable, or what ``taken`` makes.
    """
    with explained(path):
        # Not inherited by children: a worker that outlives this process must not keep the run locked.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise taken(f"process {holder or 'unknown'}") from error
    with explained(path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
