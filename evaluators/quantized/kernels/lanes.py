"""A vocabulary for kernels over vectors of 64 bytes, written in LLVM's intermediate language.

Kernels take addresses and byte strides: counting references to arrays would cost more than the short loops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# A vector is as long as a cache line; operands that start where a line does are read in one go.
LINE = 64
LANES = 16

BYTE, HALF, WORD, ADDRESS = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
REAL, DOUBLE = ir.FloatType(), ir.DoubleType()
BYTES, HALVES, WORDS = ir.VectorType(BYTE, LINE), ir.VectorType(HALF, 32), ir.VectorType(WORD, LANES)
LONGS = ir.VectorType(ADDRESS, 8)
REALS, DOUBLES = ir.VectorType(REAL, LANES), ir.VectorType(DOUBLE, LANES)
# As many bytes as there are words in a vector.
NARROW = ir.VectorType(BYTE, LANES)

# Numba's types of kernel arguments and results.
INT, SINGLE, FLOAT, NONE = types.intp, types.float32, types.float64, types.void


def kernel(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function that emits code into a function that compiled Python calls.

    Args:
        result: Numba's type of what the code returns.
        arguments: Numba's types of what it takes.

    Returns:
        A decorator of functions of an ``llvmlite`` builder and the arguments' values.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_: Any, *__: Any) -> Any:
            def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
                returned = emit(builder, *values)
                return context.get_dummy_value() if returned is None else returned

            return result(*arguments), generate

        # Numba reads the number of arguments here.
        typed.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate


def number(value: int) -> ir.Constant:
    """An address-sized constant."""
    return ir.Constant(ADDRESS, value)


def constant(kind: ir.VectorType, value: float) -> ir.Constant:
    """A vector of equal constants."""
    return ir.Constant(kind, [value] * kind.count)


def at(builder: Any, base: Any, *offsets: Any) -> Any:
    """The address ``base`` plus byte offsets; constant offsets may be plain integers."""
    for offset in offsets:
        base = builder.add(base, number(offset) if isinstance(offset, int) else offset)
    return base


def load(builder: Any, kind: ir.Type, address: Any) -> Any:
    """Reads from an address, which need not be aligned."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    """Writes to an address, which need not be aligned."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


def splat(builder: Any, kind: ir.VectorType, value: Any) -> Any:
    """A vector of copies of a value."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(WORD, 0))
    return builder.shuffle_vector(first, undefined, constant(ir.VectorType(WORD, kind.count), 0))


def shuffle(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    """Elements of ``a`` followed by ``b`` at the given places."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(WORD, len(places)), places))


def call(builder: Any, name: str, result: ir.Type, *values: Any) -> Any:
    """Calls one of LLVM's own functions."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def variable(builder: Any, initial: Any) -> Any:
    """A variable, which LLVM keeps in a register."""
    place = cgutils.alloca_once(builder, initial.type)
    builder.store(initial, place)
    return place


@contextmanager
def every(builder: Any, count: Any, step: int) -> Iterator[Any]:
    """A loop of ``count`` rounds over the offsets ``0, step, 2 step, ..``."""
    with cgutils.for_range(builder, count) as loop:
        yield builder.mul(loop.index, number(step))


def larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger of float vectors without NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def smaller(builder: Any, a: Any, b: Any) -> Any:
    """The smaller of float vectors without NaN."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def round_to_words(builder: Any, steps: Any) -> Any:
    """The nearest integers (ties to even) of 16 doubles as words; the least word where they do not fit."""
    halves = []
    for first in (0, 8):
        eight = shuffle(builder, steps, steps, list(range(first, first + 8)))
        nothing = ir.Constant(ir.VectorType(WORD, 8), [0] * 8)
        name = "llvm.x86.avx512.mask.cvtpd2dq.512"
        half = call(builder, name, nothing.type, eight, nothing, ir.Constant(BYTE, -1), ir.Constant(WORD, 4))
        halves.append(half)
    return shuffle(builder, halves[0], halves[1], list(range(LANES)))


def to_codes(builder: Any, steps: Any, zero: Any, qmax: Any) -> Any:
    """Codes ``clip(round(steps) + zero, 0, qmax)`` of 16 doubles, as bytes."""
    # Clipped above before rounding, where a number that does not fit would become the least integer.
    highest = splat(builder, DOUBLES, builder.sitofp(builder.sub(qmax, zero), DOUBLE))
    rounded = round_to_words(builder, smaller(builder, steps, highest))
    shifted = builder.add(rounded, splat(builder, WORDS, builder.trunc(zero, WORD)))
    positive = builder.icmp_signed(">", shifted, constant(WORDS, 0))
    return builder.trunc(builder.select(positive, shifted, constant(WORDS, 0)), NARROW)


def padded(count: int, step: int, at_least: int = 0) -> int:
    """``count`` rounded up to a multiple of ``step``, but at least ``at_least``."""
    return max(-(-count // step) * step, at_least)


def aligned(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Zeros whose first element starts a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype).reshape(shape)
