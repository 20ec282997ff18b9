"""Just-in-time compilation of element-wise kernels, cached on disk where a cache can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compiles a kernel without fast-math (its float64 results are exact and reproducible).

    Numba refuses to cache where neither the package folder nor the user's cache folder is writable; the
    kernel is then compiled anew in each process.
    """
    options = {"nopython": True, "nogil": True, "error_model": "numpy"}
    try:
        return cast(Function, numba.jit(**options, cache=True)(function))
    except RuntimeError:
        return cast(Function, numba.jit(**options)(function))
