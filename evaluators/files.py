"""Writing files so that a reader never sees half of one, with failures told in one line."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitfront.spaces import BitfrontError, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a failure to write ``path`` into the project's errors.

    Raises:
        UserError: The place is not writable, or no folder.
        BitfrontError: The disk is full, or writing failed otherwise.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FORBIDDEN:
            raise UserError(
                f"cannot write {path}: {reason}; make the folder writable, or choose another"
            ) from error
        if error.errno in _NO_FOLDER:
            raise UserError(f"cannot write {path}: {reason}; choose a folder that can hold it") from error
        remedy = "free some space" if error.errno in _FULL else "mend that"
        raise BitfrontError(f"cannot write {path}: {reason}; {remedy} and try again") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes ``content``, text as UTF-8, to ``path`` as a whole or not at all, to the disk before it returns.

    Raises:
        UserError: The folder is not writable.
        BitfrontError: The disk is full, or writing failed otherwise.
    """
    # A name of its own: another process may be writing the same file.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with explained(path):
        try:
            with part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
