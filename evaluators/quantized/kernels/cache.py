"""Compiled kernels on disk: a damaged file is compiled and written again, and none ends what computes."""

from __future__ import annotations

import glob
import hashlib
import logging
import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from bitfront.evaluators.files import replacing

logger = logging.getLogger(__name__)
_DIGEST = hashlib.sha256
_told = False


class KernelFiles:
    """The compiled forms of a kernel, a file for each signature and processor.

    Numba itself numbers its files and keeps an index of them: two processes that compile different signatures
    at once can give them the same number, and nothing tells a file that was cut short. Here the key is in the
    name, and a digest in the file.

    Args:
        folder: Where they lie.
        name: What the names of the files begin with.
        stamp: The state of the kernel's source.
    """

    def __init__(self, folder: Path, name: str, stamp: object) -> None:
        self._folder, self._name, self._stamp = folder, name, stamp

    def load(self, key: object) -> Any:
        """What was saved under ``key``; None where nothing can be read."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _tell(f"{path} cannot be read ({(error.strerror or str(error)).lower()})")
            return None
        size = _DIGEST().digest_size
        if _DIGEST(content[size:]).digest() != content[:size]:
            _tell(f"{path} was damaged, and is written again")
            return None
        return pickle.loads(content[size:])  # noqa: S301 - code that would be run in any case

    def save(self, key: object, data: object) -> None:
        """Keeps the compiled form ``data`` of ``key``; raises OSError where it cannot be written."""
        content = dumps(data)
        with replacing(self._path(key), durable=False) as part:
            part.write_bytes(_DIGEST(content).digest() + content)

    def flush(self) -> None:
        """Removes all of them: numba asks for that before it compiles a kernel once more."""
        for path in self._folder.glob(f"{glob.escape(self._name)}.*.nbc"):
            with suppress(OSError):
                path.unlink()

    def _path(self, key: object) -> Path:
        text = repr((numba.__version__, self._stamp, key))
        return self._folder / f"{self._name}.{_DIGEST(text.encode()).hexdigest()[:16]}.nbc"


class KernelCache(FunctionCache):  # type: ignore[misc]
    """What numba keeps a kernel in; where it cannot be read or written, the kernel is compiled in memory.

    Args:
        function: The kernel.

    Raises:
        RuntimeError: No folder can be written to.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        folder, stamp = Path(locator.get_cache_path()), locator.get_source_stamp()
        self._cache_file = KernelFiles(folder, self._impl.filename_base, stamp)

    def load_overload(self, sig: object, target_context: object) -> object:
        """The compiled kernel; None where it has to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # of pickle or LLVM, each of which raises what it likes
            _tell(f"the compiled kernel {self._name} cannot be loaded ({type(error).__name__}: {error})")
            return None

    def save_overload(self, sig: object, data: object) -> None:
        """Keeps a compiled kernel where that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            _tell(f"compiled kernels cannot be kept in {self.cache_path} ({reason})")


def _tell(what: str) -> None:
    """Warns once, in the process that was started by hand: workers have the same files."""
    global _told
    first = not _told and multiprocessing.parent_process() is None
    _told = True
    logger.log(
        logging.WARNING if first else logging.DEBUG,
        "%s: kernels are compiled in memory, which takes some seconds",
        what,
    )
