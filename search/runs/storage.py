"""Where a study is kept: the run's journal file, mended after a kill, or a database."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained
from bitfront.search.runs.files import cut_incomplete_line
from bitfront.spaces import BitfrontError, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

logger = logging.getLogger(__name__)
JOURNAL = "study.log"
# Up to the last "@" before the path; a password may hold a slash, and then it is the first "@" that counts.
_USER = re.compile(r"(://[^:/@]*):(?:[^/?#]*|[^@]*)@")
_SECRET = re.compile(
    r"([?&][^=&]*(?:passw|passphrase|pwd|secret|token|api_?key|odbc_connect)[^=&]*=)[^&]*", re.IGNORECASE
)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Opens the journal in ``folder``, mended where a kill cut it short, or the database at ``url``.

    Only the holder of the run's lock may call this.

    Raises:
        UserError: The database cannot be reached, or the journal's folder is not writable.
        BitfrontError: The journal is damaged before its last line.
    """
    return _open_journal(folder / JOURNAL) if url is None else _open_database(url)


def _open_journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with explained(path):
        cut_incomplete_line(path)
        for lock in path.parent.glob(f"{path.name}.lock*"):  # of Optuna
            logger.warning("removed the lock %s of a process that is gone", lock.name)
            lock.unlink(missing_ok=True)
        backend = JournalFileBackend(str(path))
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise BitfrontError(
            f"{path} is damaged ({error}): restore it from a copy, or start a new run"
        ) from error


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
    from optuna.storages import RDBStorage

    with opening(url):
        return RDBStorage(database_url(url).render_as_string(hide_password=False))


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
        reason = " ".join(str(error).split("\n")[0].split()).replace(url, without_password(url))
        raise UserError(
            f"--storage {without_password(url)} cannot be opened: {reason}; expected a database URL that "
            "SQLAlchemy reads, such as postgresql://user@host/name"
        ) from error


def without_password(url: str) -> str:
    """A database URL for messages and files: passwords and other secrets, be they in its query, replaced."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1:***@", url))
