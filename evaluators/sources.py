"""The code of this room as a digest: another rule or constant makes other models."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_ROOM = Path(__file__).resolve().parent


@functools.cache
def sources_digest() -> str:
    """SHA-256 of the Python files of this room, by name and content, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(_ROOM.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOM).as_posix()}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
