"""Where a study is kept: the run's journal file, or a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.atomic import explained
from bitfront.search.journal import mend_journal, remove_stale_locks
from bitfront.spaces import BitfrontError, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = "study.log"


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
        mend_journal(path)
        remove_stale_locks(path)
        backend = JournalFileBackend(str(path))
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise BitfrontError(
            f"{path} is damaged ({error}): restore it from a copy, or start a new run"
        ) from error


def _open_database(url: str) -> BaseStorage:
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url)
    except Exception as error:  # drivers and SQLAlchemy each raise their own
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(
            f"--storage {without_password(url)} cannot be opened: {reason}; expected a database URL that "
            "SQLAlchemy reads, such as postgresql://user@host/name, and its driver installed"
        ) from error


def without_password(url: str) -> str:
    """A database URL with its password replaced, for messages."""
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", url)
