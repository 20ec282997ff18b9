"""Writes to the record of a search: waited for where it is locked, told in one line where they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import optuna

from bitfront.evaluators.files import explained
from bitfront.search.runs.storage import patiently, reason_of
from bitfront.spaces import BitfrontError

Done = TypeVar("Done")


@contextmanager
def _lock_errors() -> Iterator[None]:
    """Gives the reason why Optuna's lock of a journal cannot be released, which it has in other words."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def recorded(place: Path | str, write: Callable[[], Done]) -> Done:
    """Writes to the record, waiting for a database that is locked.

    Raises:
        UserError: The folder of a journal is not writable.
        BitfrontError: The disk is full, or the database could not be written.
    """
    try:
        with explained(place) if isinstance(place, Path) else nullcontext(), _lock_errors():
            return patiently(str(place), write)
    except optuna.exceptions.StorageInternalError as error:
        raise BitfrontError(
            f"the database {place} of the study cannot be written ({reason_of(error)}): mend that"
        ) from error
