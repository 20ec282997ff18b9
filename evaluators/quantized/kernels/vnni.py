"""Exact products of unsigned by signed bytes with AVX512-VNNI.

``vpdpbusd`` adds four products of an unsigned and a signed byte to each of 16 int32 sums, without saturation.
A tile of 7 rows by 2 or 3 vectors of sums stays in registers while the inner dimension runs.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from bitfront.evaluators.quantized.kernels.compiled import compiled
from bitfront.evaluators.quantized.kernels.lanes import (
    INT,
    LANES,
    LINE,
    NONE,
    WORD,
    WORDS,
    aligned,
    at,
    call,
    kernel,
    load,
    number,
    padded,
    splat,
    store,
    variable,
)

# 7 divides Swin's windows of 7 x 7 tokens, and 7 x 3 sums with their operands fit the 32 registers.
TILE_ROWS = 7
# The softmax between the two products looks tables up by permuting bytes, hence VBMI.
FEATURES = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512vbmi")


def _tile(vectors: int) -> Any:
    """A kernel for a tile of ``TILE_ROWS`` rows by ``vectors`` vectors; arguments as in :func:`multiply`."""

    @kernel(NONE, *[INT] * 9)
    def tile(
        builder: Any,
        a: Any,
        a_step: Any,
        b: Any,
        b_step: Any,
        groups: Any,
        row: Any,
        column: Any,
        out: Any,
        step: Any,
    ) -> None:
        rows, across = range(TILE_ROWS), [LINE * j for j in range(vectors)]
        starts = [splat(builder, WORDS, load(builder, WORD, at(builder, row, 4 * i))) for i in rows]
        firsts = [load(builder, WORDS, at(builder, column, x)) for x in across]
        sums = [[variable(builder, builder.add(start, first)) for first in firsts] for start in starts]
        lefts = [at(builder, a, builder.mul(number(i), a_step)) for i in rows]
        with cgutils.for_range(builder, groups) as loop:
            panel = at(builder, b, builder.mul(loop.index, b_step))
            right = [load(builder, WORDS, at(builder, panel, x)) for x in across]
            for i in rows:
                four = load(builder, WORD, at(builder, lefts[i], builder.shl(loop.index, number(2))))
                left = splat(builder, WORDS, four)
                for j, total in enumerate(sums[i]):
                    # LLVM 22 declares the operands as bytes, but takes the words that earlier ones declare.
                    name = "llvm.x86.avx512.vpdpbusd.512"
                    builder.store(call(builder, name, WORDS, builder.load(total), left, right[j]), total)
        for i in rows:
            for x, total in zip(across, sums[i], strict=True):
                store(builder, builder.load(total), at(builder, out, builder.mul(number(i), step), x))

    return tile


_two_vectors = _tile(2)
_three_vectors = _tile(3)


@compiled
def multiply(
    a: int,
    a_step: int,
    b: int,
    b_step: int,
    groups: int,
    row: int,
    column: int,
    out: int,
    step: int,
    vectors: int,
) -> None:
    """``out = row + column + a @ b`` for one tile of rows, exact modulo 2^32.

    Args:
        a: Address of unsigned bytes ``[TILE_ROWS, 4 * groups]``.
        a_step: Bytes between its rows.
        b: Address of signed bytes ``[groups, columns, 4]``: four successive inner positions to a word.
        b_step: Bytes between its groups.
        groups: Inner positions divided by four.
        row: Address of int32 ``[TILE_ROWS]``, added to each row.
        column: Address of int32 ``[columns]``, added to each column.
        out: Address of the sums, int32 ``[TILE_ROWS, columns]``.
        step: Bytes between its rows.
        vectors: Columns divided by 16, at least 2.
    """
    pairs = vectors - 3 * (vectors % 2)
    for v in range(0, pairs, 2):
        x = LINE * v
        _two_vectors(a, a_step, b + x, b_step, groups, row, column + x, out + x, step)
    if vectors % 2:
        x = LINE * pairs
        _three_vectors(a, a_step, b + x, b_step, groups, row, column + x, out + x, step)


def byte_product(a: NDArray[np.uint8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """``a @ b`` of unsigned bytes ``[m, k]`` and signed bytes ``[k, n]``."""
    (m, k), n = a.shape, b.shape[1]
    inner, columns = padded(k, 4), padded(n, LANES, 2 * LANES)
    left = aligned((padded(m, TILE_ROWS), inner), np.uint8)
    left[:m, :k] = a
    right = aligned((inner // 4, columns, 4), np.int8)
    right.transpose(0, 2, 1)[np.arange(k) // 4, np.arange(k) % 4, :n] = b
    out = aligned((len(left), columns), np.int32)
    # An array of its own name: memory of which only the address is left goes to whatever thread asks next.
    nothing = aligned((columns,), np.int32)
    for i in range(0, m, TILE_ROWS):
        multiply(
            left[i:].ctypes.data,
            inner,
            right.ctypes.data,
            4 * columns,
            inner // 4,
            nothing.ctypes.data,
            nothing.ctypes.data,
            out[i:].ctypes.data,
            4 * columns,
            columns // LANES,
        )
    return out[:m, :n]


@functools.cache
def vnni_available() -> bool:
    """Whether this process compiles for an x86 CPU with AVX512-VNNI and VBMI whose products are exact.

    Nothing is compiled where the features are missing.
    """
    if numba.config.DISABLE_JIT:
        return False
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    if not triple.startswith("x86_64") or not {f"+{name}" for name in FEATURES} <= set(features.split(",")):
        return False
    largest, smallest = np.full((1, 8), 255, np.uint8), np.full((8, 1), -128, np.int8)
    return bool((byte_product(largest, smallest) == 8 * 255 * -128).all())
