"""The file that a long command will write, looked at before it starts."""

from __future__ import annotations

import os
from pathlib import Path


def check_output(path: Path, force: bool, option: str = "--output") -> None:
    """Finds out beforehand what would go wrong after minutes of work.

    Args:
        path: The file.
        force: Whether it may be overwritten.
        option: What names it on the command line.

    Raises:
        UserError: There is no such folder, it is not writable, or the file exists and may not be overwritten.
    """
    from bitfront.spaces.errors import UserError

    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"{option} {path}: there is no folder {folder}; make it, or choose another file")
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise UserError(f"{option} {path} cannot be written: choose another file")
    if path.exists() and not force:
        raise UserError(f"{option} {path} exists: choose another file, or overwrite it with --force")
