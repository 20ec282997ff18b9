"""Where a study is kept: the run's journal file, or a database, which may be locked for a while."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bitfront.evaluators.files import write_atomically
from bitfront.search.runs.files import TRIALS, read_json
from bitfront.search.runs.journal import JOURNAL, open_journal
from bitfront.search.runs.names import run_command
from bitfront.spaces import BitfrontError, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

logger = logging.getLogger(__name__)
Done = TypeVar("Done")

# Says where the study is, where it is not in the run folder.
STORAGE_NOTE = "storage.json"
HIDDEN = "***"
# A database that others lock is waited for so long, and this is said after so long.
PATIENCE_S = 600.0
TOLD_AFTER_S = 3.0
_LOCKED = re.compile(r"locked|deadlock|lock wait timeout|lock timeout|busy", re.IGNORECASE)
# What processes see that make the tables of a new database at once.
_BEING_MADE = re.compile(
    rf"{_LOCKED.pattern}|already exists|duplicate|unique constraint|concurrently updated", re.IGNORECASE
)
# Up to the last "@" before the path; a password may hold a slash, and then it is the first "@" that counts.
_USER = re.compile(r"(://[^:/@]*):(?:[^/?#]*|[^@]*)@")
_SECRET = re.compile(
    r"([?&][^=&]*(?:passw|passphrase|pwd|secret|token|api_?key|odbc_connect)[^=&]*=)[^&]*", re.IGNORECASE
)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Opens the journal in ``folder``, mended where a kill cut it short, or the database at ``url``.

    Only the holder of the run's lock may call this.

    Raises:
        UserError: The database cannot be reached, the journal's folder is not writable, or the journal is
            damaged before its last line.
    """
    return open_journal(folder / JOURNAL) if url is None else _open_database(url)


def has_study(url: str, name: str) -> bool:
    """Whether a database has a study of this name.

    Raises:
        UserError: The database cannot be reached.
    """
    storage = _open_database(url)
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True


def _open_database(url: str) -> BaseStorage:
    """Opens a database, and makes its tables where it has none.

    Several searches may begin on a new database at once: what one of them makes, the others find at their
    next try.
    """
    from optuna.storages import RDBStorage

    with opening(url):
        text = database_url(url).render_as_string(hide_password=False)
        return patiently(without_password(url), lambda: RDBStorage(text), _BEING_MADE)


def patiently(shown: str, operation: Callable[[], Done], momentary: re.Pattern[str] = _LOCKED) -> Done:
    """Does what a database may refuse for a moment, as one that another process has locked.

    Nothing was written where it was refused: it is tried again until :data:`PATIENCE_S` have passed.

    Args:
        shown: The database, for messages.
        operation: What is done.
        momentary: What the messages of refusals have in common that pass.

    Raises:
        Exception: What the operation raised in the end.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    began, told = time.monotonic(), False
    while True:
        try:
            done = operation()
        except (StorageInternalError, SQLAlchemyError) as error:
            waited = time.monotonic() - began
            if not momentary.search(reason_of(error)) or waited > PATIENCE_S:
                raise
            if not told and waited > TOLD_AFTER_S:
                told = True
                logger.warning(
                    "the database %s is locked by another process (%s): waiting up to %d minutes for it",
                    *(shown, reason_of(error), PATIENCE_S // 60),
                )
            time.sleep(random.uniform(0.05, 0.25))  # noqa: S311 - others that wait must not come in step
        else:
            if told:
                logger.warning("the database answers again after %.0f s", time.monotonic() - began)
            return done


def reason_of(error: BaseException) -> str:
    """What a database said, in a line: the first cause, which Optuna and SQLAlchemy wrap."""
    while error.__cause__ is not None:
        error = error.__cause__
    found: BaseException = getattr(error, "orig", None) or error
    lines = str(found).strip().splitlines() or [type(found).__name__]
    return " ".join(lines[0].split())


def note_storage(folder: Path, url: str) -> None:
    """Writes into a run folder which database its study is in, without passwords."""
    write_atomically(folder / STORAGE_NOTE, json.dumps({"url": recorded_url(url)}, indent=2) + "\n")


def resume_command(folder: Path) -> str:
    """The command that goes on with a run; a password that its database needs has to be filled in."""
    noted = read_json(folder / STORAGE_NOTE, dict, absent={}).get("url")
    storage = ["--storage", noted] if noted is not None and HIDDEN in noted else []
    return run_command(folder, "search", "--resume", folder.name, *storage)


def recorded_url(url: str) -> str:
    """A database URL without its passwords, and with the whole path of a file.

    Raises:
        UserError: It is no URL.
    """
    with opening(url):
        found = database_url(url)
    name = found.database
    if found.get_backend_name() != "sqlite" or not name or name.startswith((":", "file:")):
        return without_password(url)
    return found.set(database=str(Path(name).absolute())).render_as_string()


def resumed_storage(folder: Path, url: str | None) -> str | None:
    """Where the study of a run is that is gone on with.

    Args:
        folder: The run's.
        url: The database that is named for it; None for the one that the run has noted, if any.

    Returns:
        A database's URL, or None for the run folder.

    Raises:
        UserError: The study is elsewhere, or its database needs a password.
    """
    noted = read_json(folder / STORAGE_NOTE, dict, absent={}).get("url")
    begun = (folder / TRIALS).exists() or (folder / JOURNAL).exists()
    if url is None:
        if noted is not None and HIDDEN in noted:
            raise UserError(f"run {folder.name} keeps its study in {noted}: give it again with --storage")
        url = noted
    elif noted is None and begun:
        raise UserError(f"run {folder.name} keeps its study in {folder / JOURNAL}: leave out --storage")
    if url is not None and begun:
        _check_there(folder, url, noted)
    return url


def _check_there(folder: Path, url: str, noted: str | None) -> None:
    """Raises :class:`UserError` where a database lacks the study of a run, before anything is prepared."""
    kept = f"the study of run {folder.name}"
    elsewhere = f"; the run has it in {noted}" if noted and noted != recorded_url(url) else ""
    remedy = "bring it back, say with --storage where it is now, or start a new run with another --run"
    with opening(url):
        place = database_url(url)
    if place.get_backend_name() == "sqlite" and place.database and not Path(place.database).exists():
        raise UserError(f"there is no database {place.database}, which had {kept}{elsewhere}: {remedy}")
    if not has_study(url, folder.name):
        raise UserError(f"the storage {without_password(url)} has not {kept}{elsewhere}: {remedy}")


def database_url(url: str) -> URL:
    """A database URL as SQLAlchemy reads it, with the PostgreSQL driver that is installed.

    SQLAlchemy takes ``postgresql://`` to mean psycopg2, even where only its successor psycopg is there.

    Raises:
        sqlalchemy.exc.ArgumentError: It is no URL.
    """
    from sqlalchemy import make_url

    found = make_url(url)
    if found.drivername == "postgresql" and find_spec("psycopg2") is None:
        return found.set(drivername="postgresql+psycopg")
    return found


@contextmanager
def opening(url: str) -> Iterator[None]:
    """Turns failures to open a database into the project's errors.

    Raises:
        UserError: Its driver is missing, or it cannot be reached.
    """
    try:
        yield
    except BitfrontError:
        raise
    except ImportError as error:  # Optuna wraps that of the driver
        driver = error.name or getattr(error.__cause__, "name", None) or "its driver"
        postgresql = url.startswith("postgresql")
        command = "pip install 'bitfront[postgresql]'" if postgresql else f"pip install {driver}"
        raise UserError(
            f"--storage {without_password(url)} cannot be opened: {driver} is not installed: {command}"
        ) from error
    except Exception as error:  # drivers and SQLAlchemy each raise their own
        reason = reason_of(error).replace(url, without_password(url))
        raise UserError(
            f"--storage {without_password(url)} cannot be opened: {reason}; expected a database URL that "
            "SQLAlchemy reads, such as postgresql://user@host/name"
        ) from error


def without_password(url: str) -> str:
    """A database URL for messages and files: passwords and other secrets, be they in its query, replaced."""
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", url))
