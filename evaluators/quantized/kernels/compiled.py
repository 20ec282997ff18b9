"""Just-in-time compilation of element-wise kernels, cached on disk where a cache can be kept."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from bitfront.evaluators.preparation.store.fingerprint import sources_digest
from bitfront.evaluators.quantized.kernels.cache import KernelCache

Function = TypeVar("Function", bound=Callable[..., object])
_OPTIONS: dict[str, Any] = {"nopython": True, "nogil": True, "error_model": "numpy"}


def _compile(function: Function, options: dict[str, Any]) -> Function:
    """Compiles and caches a kernel.

    A kernel contains what it calls, but numba looks for changes only where the kernel itself is written: the
    name that it caches under names the state of the whole package.

    Where neither ``NUMBA_CACHE_DIR``, the package folder nor the user's cache folder is writable, the kernel
    is compiled in each process.
    """
    function.__qualname__ += f"-{sources_digest(Path(__file__).parent)[:12]}"
    kernel = numba.jit(**options)(function)
    with suppress(RuntimeError, OSError):
        kernel._cache = KernelCache(function)
    return cast(Function, kernel)


def compiled(function: Function) -> Function:
    """Compiles a kernel without fast-math (its float64 results are exact and reproducible)."""
    return _compile(function, _OPTIONS)


def compiled_with_free_summation(function: Function) -> Function:
    """Compiles a kernel whose float sums may be taken in any order, so that they vectorize."""
    return _compile(function, {**_OPTIONS, "fastmath": {"reassoc", "contract"}})


@functools.cache
def triton_installed() -> bool:
    """Whether programs for GPUs can be compiled; CUDA builds of torch bring Triton along."""
    return importlib.util.find_spec("triton") is not None
