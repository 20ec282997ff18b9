"""Locks: one process at a time may write to a run folder, and to a study in a database."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained
from bitfront.search.runs.storage import database_url, opening
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

logger = logging.getLogger(__name__)

# A connection whose machine was switched off must not hold its lock for the two hours of TCP's default.
_KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


RUN_LOCK = "run.lock"
# A listing of the runs may look at a lock just when it is taken.
_GLANCE_S = 0.5


def is_locked(folder: Path) -> bool:
    """Whether a process writes to a run folder at this time; False where that cannot be found out."""
    from filelock import FileLock, Timeout

    path = folder / RUN_LOCK
    if not path.exists():  # which looking at it would make
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds ``run.lock`` of a run folder exclusively; the system frees it when the process dies.

    Raises:
        UserError: Another process holds it, or the folder is not writable.
    """
    with _locked_file(folder / RUN_LOCK, f"run {folder.name}"):
        yield


def _taken(what: str, holder: str) -> UserError:
    return UserError(f"{what} is being written by {holder}: wait for it or end it, or choose another --run")


@contextmanager
def _locked_file(path: Path, what: str) -> Iterator[None]:
    """Locks a file exclusively, making it if need be, and notes this process in it.

    Processes that this one starts do not inherit the lock: a worker that outlives its search does not keep
    the run locked.

    Args:
        path: The file.
        what: What is written, for the error where another process holds it.
    """
    from filelock import FileLock, Timeout

    # Held by the process, whichever of its threads ends the block.
    lock = FileLock(path, timeout=_GLANCE_S, thread_local=False, on_acquired=_note_process)
    with explained(path):
        try:
            lock.acquire()
        except Timeout as error:
            raise _taken(what, _holder_of_file(path)) from error
    try:
        yield
    finally:
        lock.release()


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


@contextmanager
def study_lock(url: str | None, name: str) -> Iterator[None]:
    """Holds a study exclusively; the database frees it when the process dies.

    PostgreSQL and MySQL lock by name for as long as the connection lives. Beside an SQLite file, a lock file
    does the same. Other databases are not locked, and a warning says so.

    Args:
        url: Of the database; None for a study in the run folder, which has its own lock.
        name: Of the study.

    Raises:
        UserError: Another process holds it, or the database cannot be opened.
    """
    with ExitStack() as held:
        if url is not None:
            with opening(url):
                _lock_study(held, url, name)
        yield


def _lock_study(held: ExitStack, url: str, name: str) -> None:
    """Locks a study for as long as ``held`` is open."""
    from sqlalchemy import create_engine

    found = database_url(url)
    kind = found.get_backend_name()
    if kind == "sqlite":
        if found.database and found.database != ":memory:":
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            held.enter_context(_locked_file(Path(f"{found.database}.{digest}.lock"), f"study {name}"))
    elif kind in ("postgresql", "mysql", "mariadb"):
        engine = create_engine(found, isolation_level="AUTOCOMMIT")
        held.callback(engine.dispose)
        _lock_in_database(held.enter_context(engine.connect()), kind, name)
    else:
        logger.warning("%s databases are not locked: let no other process resume the run", kind)


def _lock_in_database(connection: Connection, kind: str, name: str) -> None:
    from sqlalchemy import text

    digest = hashlib.sha256(f"bitfront/{name}".encode()).digest()
    if kind == "postgresql":
        number = int.from_bytes(digest[:8], "big", signed=True)
        for setting, value in _KEEPALIVE.items():
            connection.execute(text(f"SET {setting} = {value}"))
        owner = f"bitfront on {platform.node()}, process {os.getpid()}"[:63]
        connection.execute(text("SELECT set_config('application_name', :owner, false)"), {"owner": owner})
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": number}).scalar():
            raise _taken(f"study {name}", _holder_in_database(connection, number))
    elif not connection.execute(text("SELECT GET_LOCK(:key, 0)"), {"key": digest.hex()[:60]}).scalar():
        raise _taken(f"study {name}", "another process")


def _holder_in_database(connection: Connection, key: int) -> str:
    """Who holds an advisory lock of PostgreSQL, as far as that is to be seen."""
    from sqlalchemy import text

    statement = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = :high AND l.objid = :low"
    )
    unsigned = key % 2**64
    found = connection.execute(text(statement), {"high": unsigned >> 32, "low": unsigned % 2**32}).scalar()
    return str(found or "another process").removeprefix("bitfront on ")
