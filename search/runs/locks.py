"""Locks: one process at a time may write to a run folder, and to a study in a database."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained
from bitfront.search.runs.storage import database_url, opening
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from sqlalchemy.engine import Connection, Engine


class RunLock:
    """Holds ``run.lock`` exclusively within a ``with`` block; the system frees it when the process dies.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "run.lock"
        self._held = ExitStack()

    def __enter__(self) -> RunLock:
        self._held.callback(lock_file(self._path, self._taken).release)
        return self

    def _taken(self, holder: str) -> UserError:
        return UserError(
            f"run {self._path.parent.name} is being written by {holder}: wait for it or end it, or choose "
            "another --run"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def lock_file(path: Path, taken: Callable[[str], Exception]) -> BaseFileLock:
    """Locks a file exclusively, making it if need be, and notes this process in it.

    Args:
        path: The file.
        taken: Makes the error of who holds it, such as ``process 123``.

    Returns:
        The lock; releasing it, or the end of the process, frees the file. Processes that this one starts
        do not inherit it: a worker that outlives its search does not keep the run locked.

    Raises:
        UserError: The folder is not writable, or what ``taken`` makes.
    """
    from filelock import FileLock, Timeout

    # Held by the process, whichever of its threads ends the block.
    lock = FileLock(path, blocking=False, thread_local=False, on_acquired=_note_process)
    with explained(path):
        try:
            lock.acquire()
        except Timeout as error:
            raise taken(_holder_of_file(path)) from error
    return lock


def _note_process(descriptor: int) -> None:
    """Writes this process into the file that it has locked."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _holder_of_file(path: Path) -> str:
    """Who noted itself in a locked file; Windows does not let others read it."""
    try:
        holder = path.read_text(encoding="utf-8", errors="replace").strip()[:32]
    except OSError:
        holder = ""
    return f"process {holder or 'unknown'}"


logger = logging.getLogger(__name__)

# A connection whose machine was switched off must not hold its lock for the two hours of TCP's default.
_KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


class StudyLock:
    """Holds a study exclusively within a ``with`` block; the database frees it when the process dies.

    PostgreSQL and MySQL lock by name for as long as the connection lives. Beside an SQLite file, a lock file
    does the same. Other databases are not locked, and a warning says so.

    Args:
        url: Of the database; None for a study in the run folder, which has its own lock.
        name: Of the study.
    """

    def __init__(self, url: str | None, name: str) -> None:
        self._url = url
        self._name = name
        self._held = ExitStack()

    def __enter__(self) -> StudyLock:
        if self._url is None:
            return self
        with opening(self._url):
            from sqlalchemy import create_engine

            url = database_url(self._url)
            kind = url.get_backend_name()
            if kind == "sqlite":
                self._lock_beside(url.database)
            elif kind in ("postgresql", "mysql", "mariadb"):
                engine = create_engine(url, isolation_level="AUTOCOMMIT")
                self._held.callback(engine.dispose)
                self._lock_in(engine, kind)
            else:
                logger.warning("%s databases are not locked: let no other process resume the run", kind)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _lock_beside(self, database: str | None) -> None:
        if database and database != ":memory:":
            digest = hashlib.sha256(self._name.encode()).hexdigest()[:12]
            self._held.callback(lock_file(Path(f"{database}.{digest}.lock"), self._taken).release)

    def _lock_in(self, engine: Engine, kind: str) -> None:
        from sqlalchemy import text

        connection = self._held.enter_context(engine.connect())
        digest = hashlib.sha256(f"bitfront/{self._name}".encode()).digest()
        if kind == "postgresql":
            number = int.from_bytes(digest[:8], "big", signed=True)
            for setting, value in _KEEPALIVE.items():
                connection.execute(text(f"SET {setting} = {value}"))
            owner = f"bitfront on {platform.node()}, process {os.getpid()}"[:63]
            connection.execute(text("SELECT set_config('application_name', :owner, false)"), {"owner": owner})
            if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": number}).scalar():
                raise self._taken(_holder_in_database(connection, number))
        elif not connection.execute(text("SELECT GET_LOCK(:key, 0)"), {"key": digest.hex()[:60]}).scalar():
            raise self._taken("")

    def _taken(self, holder: str) -> UserError:
        return UserError(
            f"study {self._name} is being written by {holder or 'another process'}: wait for it or end it, "
            "or choose another --run"
        )


def _holder_in_database(connection: Connection, key: int) -> str:
    """Who holds an advisory lock of PostgreSQL; empty where that is not to be seen."""
    from sqlalchemy import text

    statement = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = :high AND l.objid = :low"
    )
    unsigned = key % 2**64
    found = connection.execute(text(statement), {"high": unsigned >> 32, "low": unsigned % 2**32}).scalar()
    return str(found or "").removeprefix("bitfront on ")
