"""The lock of a run: one process at a time may write to a run folder."""

from __future__ import annotations

import fcntl
import os
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
        with explained(self._path):
            # Not inherited by children: a worker that outlives this process must not keep the run locked.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise UserError(
                f"run {self._path.parent.name} is being written by process {holder or 'unknown'}: wait "
                "for it or end it, or choose another --run"
            ) from error
        with explained(self._path):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
