"""The float32 softmax of one row of scores as attention bytes, for the fused kernel.

``exp(x) = 2^k exp(r)`` with ``|r| <= ln 2 / 2`` and a polynomial of degree 7 for ``exp(r)`` (as in Cephes).
It is within 2 units in the last place. Sums run in 16 lanes.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from bitfront.evaluators.quantized.kernels.lanes import (
    ADDRESS,
    INT,
    LANES,
    LINE,
    NARROW,
    REAL,
    REALS,
    SINGLE,
    WORD,
    WORDS,
    at,
    call,
    constant,
    every,
    kernel,
    larger,
    load,
    number,
    smaller,
    splat,
    store,
    variable,
)

# ln 2 in two parts, of which the first times a small integer is exact.
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
    1.0,
    1.0,
)
# Adding it leaves the nearest integer in the last bits.
TO_INTEGER = 1.5 * 2.0**23
# Exponentials of less are taken for exp(-86) = 2^-124; no attention code is that small.
LEAST_EXPONENT = -86.0
HIDDEN = -(2.0**127)
EXPONENT_FIELD = 0x7F800000


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return call(builder, "llvm.fma.v16f32", REALS, a, b, c)


def _exponential(builder: Any, x: Any) -> Any:
    """``exp(x)`` of 16 floats, none above 0."""
    x = larger(builder, x, constant(REALS, LEAST_EXPONENT))
    magic = constant(REALS, TO_INTEGER)
    shifted = _multiply_add(builder, x, constant(REALS, 1.0 / math.log(2.0)), magic)
    k = builder.fsub(shifted, magic)
    r = _multiply_add(builder, k, constant(REALS, -LN2_HIGH), x)
    r = _multiply_add(builder, k, constant(REALS, -LN2_LOW), r)
    p = constant(REALS, COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        p = _multiply_add(builder, p, r, constant(REALS, coefficient))
    exponent = builder.shl(builder.bitcast(shifted, WORDS), constant(WORDS, 23))
    return builder.bitcast(builder.add(builder.bitcast(p, WORDS), exponent), REALS)


def _reduce(builder: Any, name: str, *arguments: Any) -> Any:
    """A sum or maximum over lanes, in any order."""
    value = call(builder, f"llvm.vector.reduce.{name}.v16f32", REAL, *arguments)
    value.fastmath.update(("reassoc", "nnan", "nsz"))
    return value


@kernel(SINGLE, INT, INT, SINGLE, INT, INT, INT)
def scale_scores(
    builder: Any, products: Any, vectors: Any, factor: Any, bias: Any, keep: Any, out: Any
) -> Any:
    """A row of scores ``product * factor + bias``; returns the largest.

    There is no bias where its address is 0. Scores without bits in ``keep`` are not seen.
    """
    factors = splat(builder, REALS, factor)
    highest = variable(builder, constant(REALS, HIDDEN))
    with builder.if_else(builder.icmp_unsigned("!=", bias, number(0))) as branches:
        for branch, with_bias in zip(branches, (True, False), strict=True):
            with branch, every(builder, vectors, LANES) as first:
                offset = builder.shl(first, number(2))
                score = builder.sitofp(load(builder, WORDS, at(builder, products, offset)), REALS)
                score = builder.fmul(score, factors)
                if with_bias:
                    score = builder.fadd(score, load(builder, REALS, at(builder, bias, offset)))
                kept = load(builder, NARROW, at(builder, keep, first))
                kept = builder.icmp_signed("!=", kept, constant(NARROW, 0))
                score = builder.select(kept, score, constant(REALS, HIDDEN))
                store(builder, score, at(builder, out, offset))
                builder.store(larger(builder, score, builder.load(highest)), highest)
    return _reduce(builder, "fmax", builder.load(highest))


@kernel(SINGLE, INT, INT, SINGLE)
def exponentials(builder: Any, values: Any, vectors: Any, highest: Any) -> Any:
    """Turns a row of scores into the exponentials of their differences to the largest; returns their sum."""
    top = splat(builder, REALS, highest)
    sums = variable(builder, constant(REALS, 0.0))
    with every(builder, vectors, LINE) as offset:
        place = at(builder, values, offset)
        value = _exponential(builder, builder.fsub(load(builder, REALS, place), top))
        store(builder, value, place)
        builder.store(builder.fadd(builder.load(sums), value), sums)
    return _reduce(builder, "fadd", ir.Constant(REAL, 0.0), builder.load(sums))


def put_bytes(builder: Any, words: Any, place: Any, sums: Any) -> None:
    """Stores 16 words as bytes and adds them to a variable."""
    store(builder, builder.trunc(words, NARROW), place)
    builder.store(builder.add(builder.load(sums), words), sums)


def total_of_words(builder: Any, sums: Any) -> Any:
    """The sum of a variable's 16 words."""
    total = call(builder, "llvm.vector.reduce.add.v16i32", WORD, builder.load(sums))
    return builder.zext(total, ADDRESS)


@kernel(INT, INT, INT, SINGLE, SINGLE, INT)
def uniform_bytes(builder: Any, values: Any, vectors: Any, per_unit: Any, largest: Any, out: Any) -> Any:
    """Uniform codes ``min(round(value * per_unit), largest)`` of a row; returns ``2^32`` times their sum."""
    sums = variable(builder, constant(WORDS, 0))
    limit = splat(builder, REALS, largest)
    with every(builder, vectors, LANES) as first:
        value = load(builder, REALS, at(builder, values, builder.shl(first, number(2))))
        value = builder.fmul(value, splat(builder, REALS, per_unit))
        value = smaller(builder, call(builder, "llvm.rint.v16f32", REALS, value), limit)
        put_bytes(builder, builder.fptosi(value, WORDS), at(builder, out, first), sums)
    return builder.shl(total_of_words(builder, sums), number(32))


@kernel(INT, INT, INT, SINGLE, SINGLE, SINGLE, INT, INT)
def logarithmic_bytes(
    builder: Any, values: Any, vectors: Any, per_unit: Any, least: Any, unit: Any, high: Any, low: Any
) -> Any:
    """High and low bytes of ``unit`` times the powers of two at or below ``value * per_unit`` of a row.

    Powers below ``least`` count as 0. Returns ``2^32`` times the sum of the high bytes plus the low ones.
    """
    sums = [variable(builder, constant(WORDS, 0)) for _ in range(2)]
    with every(builder, vectors, LANES) as first:
        value = load(builder, REALS, at(builder, values, builder.shl(first, number(2))))
        bits = builder.bitcast(builder.fmul(value, splat(builder, REALS, per_unit)), WORDS)
        power = builder.bitcast(builder.and_(bits, constant(WORDS, EXPONENT_FIELD)), REALS)
        enough = builder.fcmp_ordered(">=", power, splat(builder, REALS, least))
        power = builder.select(enough, power, constant(REALS, 0.0))
        words = builder.fptosi(builder.fmul(power, splat(builder, REALS, unit)), WORDS)
        put_bytes(builder, builder.lshr(words, constant(WORDS, 8)), at(builder, high, first), sums[0])
        put_bytes(builder, builder.and_(words, constant(WORDS, 255)), at(builder, low, first), sums[1])
    return builder.or_(
        builder.shl(total_of_words(builder, sums[0]), number(32)), total_of_words(builder, sums[1])
    )
