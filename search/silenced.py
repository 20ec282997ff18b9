"""Compiled code that prints on stdout, kept from doing so."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced_stdout() -> Iterator[None]:
    """Drops what compiled code prints on stdout within the block, which may be a JSON document's.

    The HiGHS of some versions of SciPy leaves lines of its developers there whatever it is told. The other
    threads of the process are silenced likewise.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    # What was printed lies in a buffer of the C library.
    library = ctypes.CDLL(None if os.name == "posix" else "ucrtbase")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        library.fflush(None)
        os.dup2(nowhere, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
