"""Laying codes out for the byte products and writing their results, one head at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from bitfront.evaluators.quantized.kernels.lanes import (
    ADDRESS,
    BYTE,
    BYTES,
    DOUBLE,
    DOUBLES,
    FLOAT,
    HALF,
    HALVES,
    INT,
    LANES,
    LINE,
    LONGS,
    NONE,
    WORD,
    WORDS,
    at,
    call,
    constant,
    every,
    kernel,
    load,
    number,
    shuffle,
    splat,
    store,
    to_codes,
    variable,
)


def sum_of_bytes(builder: Any, value: Any) -> Any:
    """Eight partial sums of 64 bytes."""
    return call(builder, "llvm.x86.avx512.psad.bw.512", LONGS, value, constant(BYTES, 0))


def total(builder: Any, sums: Any) -> Any:
    """The sum of a variable's eight partial sums."""
    return call(builder, "llvm.vector.reduce.add.v8i64", ADDRESS, builder.load(sums))


def _absent(builder: Any, offset: Any, lanes: int, count: Any) -> Any:
    """How many of ``lanes`` elements from an offset are beyond ``count``."""
    absent = builder.sub(at(builder, offset, lanes), count)
    return builder.select(builder.icmp_signed(">", absent, number(0)), absent, number(0))


@kernel(INT, INT)
def word_at(builder: Any, address: Any) -> Any:
    """The int32 at an address."""
    return builder.sext(load(builder, WORD, address), ADDRESS)


@kernel(NONE, INT, INT)
def put_word(builder: Any, address: Any, value: Any) -> None:
    """Writes the low 32 bits of an integer."""
    store(builder, builder.trunc(value, WORD), address)


@kernel(FLOAT, INT)
def double_at(builder: Any, address: Any) -> Any:
    """The double at an address."""
    return load(builder, DOUBLE, address)


@kernel(NONE, INT, FLOAT)
def put_double(builder: Any, address: Any, value: Any) -> None:
    """Writes a double."""
    store(builder, value, address)


@kernel(INT, INT, INT, INT, INT, INT)
def pack_row(builder: Any, source: Any, count: Any, target: Any, lines: Any, flip: Any) -> Any:
    """Copies ``count`` bytes exclusive-or ``flip`` to whole lines; returns the sum of the bytes copied."""
    flips = splat(builder, BYTES, builder.trunc(flip, BYTE))
    sums = variable(builder, constant(LONGS, 0))
    with every(builder, lines, LINE) as offset:
        present = builder.lshr(number(-1), _absent(builder, offset, LINE, count))
        address = builder.inttoptr(at(builder, source, offset), BYTE.as_pointer())
        # The oldest form of a masked load, which every LLVM turns into its own.
        name = "llvm.x86.avx512.mask.loadu.b.512"
        value = call(builder, name, BYTES, address, constant(BYTES, 0), present)
        builder.store(builder.add(builder.load(sums), sum_of_bytes(builder, value)), sums)
        store(builder, builder.xor(value, flips), at(builder, target, offset))
    return total(builder, sums)


@kernel(NONE, *[INT] * 6)
def transpose_words(
    builder: Any, source: Any, step: Any, blocks: Any, target: Any, target_step: Any, lines: Any
) -> None:
    """Transposes words ``[16 * blocks, 16 * lines]`` into ``[16 * lines, 16 * blocks]``."""
    with every(builder, lines, LINE) as across, every(builder, blocks, LANES) as down:
        first = at(builder, source, across, builder.mul(down, step))
        rows = [load(builder, WORDS, at(builder, first, builder.mul(number(i), step))) for i in range(LANES)]
        for half in (8, 4, 2, 1):
            upper = [i + LANES - half if i & half else i for i in range(LANES)]
            lower = [i + LANES if i & half else i + half for i in range(LANES)]
            for i in (i for i in range(LANES) if not i & half):
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = shuffle(builder, a, b, upper), shuffle(builder, a, b, lower)
        # A line of words across is 16 rows down in the target.
        corner = at(builder, target, builder.shl(down, number(2)))
        for i in range(LANES):
            row = builder.add(builder.lshr(across, number(2)), number(i))
            store(builder, rows[i], at(builder, corner, builder.mul(row, target_step)))


@kernel(NONE, *[INT] * 5)
def interleave_rows(builder: Any, source: Any, step: Any, groups: Any, target: Any, lines: Any) -> None:
    """Packs bytes ``[4 * groups, 64 * lines]`` into words ``[groups, 64 * lines]``, four rows to a word."""
    with every(builder, groups, 4) as row, every(builder, lines, LINE) as across:
        first = at(builder, source, across, builder.mul(row, step))
        a, b, c, d = (
            load(builder, BYTES, at(builder, first, builder.mul(number(i), step))) for i in range(4)
        )
        out = at(builder, target, builder.mul(row, step), builder.shl(across, number(2)))
        for half in range(2):
            pairs = [32 * half + i // 2 + LINE * (i % 2) for i in range(LINE)]
            upper = builder.bitcast(shuffle(builder, a, b, pairs), HALVES)
            lower = builder.bitcast(shuffle(builder, c, d, pairs), HALVES)
            for quarter in range(2):
                places = [16 * quarter + i // 2 + 32 * (i % 2) for i in range(32)]
                place = at(builder, out, LINE * (2 * half + quarter))
                store(builder, shuffle(builder, upper, lower, places), place)


@kernel(NONE, *[INT] * 5, FLOAT, *[INT] * 3)
def put_codes(
    builder: Any,
    high: Any,
    shift: Any,
    low: Any,
    count: Any,
    vectors: Any,
    factor: Any,
    zero: Any,
    qmax: Any,
    out: Any,
) -> None:
    """Writes codes ``clip(round(sum * factor) + zero, 0, qmax)`` of ``count`` sums ``2^shift high + low``."""
    factors = splat(builder, DOUBLES, factor)
    shifts = splat(builder, WORDS, builder.trunc(shift, WORD))
    with every(builder, vectors, LANES) as first:
        offset = builder.shl(first, number(2))
        sums = builder.shl(load(builder, WORDS, at(builder, high, offset)), shifts)
        sums = builder.add(sums, load(builder, WORDS, at(builder, low, offset)))
        codes = to_codes(builder, builder.fmul(builder.sitofp(sums, DOUBLES), factors), zero, qmax)
        absent = builder.trunc(_absent(builder, first, LANES, count), HALF)
        present = builder.lshr(ir.Constant(HALF, -1), absent)
        address = builder.inttoptr(at(builder, out, first), BYTE.as_pointer())
        call(builder, "llvm.x86.avx512.mask.storeu.b.128", ir.VoidType(), address, codes, present)
