"""Attention bytes of logarithmic codes of any base, for the fused kernel.

The code of a probability is how many of 16 falling thresholds are above it. Registers hold them all, so that
permuting them makes each step of a binary search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from bitfront.evaluators.quantized.kernels.float_rows import put_bytes, total_of_words
from bitfront.evaluators.quantized.kernels.lanes import (
    DOUBLE,
    DOUBLES,
    FLOAT,
    INT,
    LANES,
    LINE,
    LONGS,
    NARROW,
    NONE,
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
    load,
    number,
    shuffle,
    splat,
    store,
    variable,
)
from bitfront.evaluators.quantized.kernels.lookup import TABLE

# Thresholds, or the values of codes: what a table of 4 bits has.
CODES = 16
EIGHT_DOUBLES = ir.VectorType(DOUBLE, 8)


def _search(builder: Any, value: Any, places: Any, threshold_at: Callable[[Any], Any]) -> Any:
    """How many of the first 15 thresholds are above each value, as a vector of the type ``places``."""
    found = constant(places, 0)
    for step in (8, 4, 2, 1):
        threshold = threshold_at(builder.add(found, constant(places, step - 1)))
        below = builder.fcmp_ordered("<", value, threshold)
        found = builder.select(below, builder.add(found, constant(places, step)), found)
    return found


def _codes_of_doubles(builder: Any, value: Any, low: Any, high: Any) -> Any:
    """Codes up to 15 of 16 doubles by two registers of thresholds, as words."""

    def threshold_at(place: Any) -> Any:
        return call(builder, "llvm.x86.avx512.vpermi2var.pd.512", EIGHT_DOUBLES, low, place, high)

    halves = []
    for first in (0, 8):
        eight = shuffle(builder, value, value, list(range(first, first + 8)))
        found = _search(builder, eight, LONGS, threshold_at)
        halves.append(builder.trunc(found, ir.VectorType(WORD, 8)))
    return shuffle(builder, halves[0], halves[1], list(range(LANES)))


def _codes_of_floats(builder: Any, value: Any, thresholds: Any) -> Any:
    """Codes up to 15 of 16 floats by a register of thresholds, as words."""

    def threshold_at(place: Any) -> Any:
        return call(builder, "llvm.x86.avx512.permvar.sf.512", REALS, thresholds, place)

    return _search(builder, value, WORDS, threshold_at)


def _value_of(builder: Any, values: Any, codes: Any, has_code: Any) -> Any:
    """Values of codes, words; 0 where there is none."""
    found = call(builder, "llvm.x86.avx512.permvar.si.512", WORDS, values, codes)
    return builder.select(has_code, found, constant(WORDS, 0))


@kernel(NONE, INT, INT, FLOAT, INT, INT, INT)
def fill_any_base(
    builder: Any, exponentials: Any, vectors: Any, per_unit: Any, thresholds: Any, values: Any, out: Any
) -> None:
    """High and low bytes, 256 apart, of the values of a table of doubles times ``per_unit``.

    Thresholds are double ``[16]``, values words ``[16]``, both 0 from the number of codes on.
    """
    halves = [load(builder, EIGHT_DOUBLES, at(builder, thresholds, LINE * i)) for i in range(2)]
    last = splat(builder, DOUBLES, load(builder, DOUBLE, at(builder, thresholds, 8 * (CODES - 1))))
    table = load(builder, WORDS, values)
    with every(builder, vectors, LANES) as first:
        share = load(builder, DOUBLES, at(builder, exponentials, builder.shl(first, number(3))))
        share = builder.fmul(share, splat(builder, DOUBLES, per_unit))
        has_code = builder.fcmp_ordered(">=", share, last)
        word = _value_of(builder, table, _codes_of_doubles(builder, share, *halves), has_code)
        store(builder, builder.trunc(builder.lshr(word, constant(WORDS, 8)), NARROW), at(builder, out, first))
        store(builder, builder.trunc(word, NARROW), at(builder, out, first, TABLE))


@kernel(INT, INT, INT, SINGLE, INT, INT, INT, INT)
def any_base_bytes(
    builder: Any, floats: Any, vectors: Any, per_unit: Any, thresholds: Any, values: Any, high: Any, low: Any
) -> Any:
    """The same of a row of floats, with thresholds that are float ``[16]``, as rows of bytes.

    Returns ``2^32`` times the sum of the high bytes plus the low ones.
    """
    sums = [variable(builder, constant(WORDS, 0)) for _ in range(2)]
    falling, table = load(builder, REALS, thresholds), load(builder, WORDS, values)
    last = splat(builder, REALS, load(builder, REAL, at(builder, thresholds, 4 * (CODES - 1))))
    with every(builder, vectors, LANES) as first:
        share = load(builder, REALS, at(builder, floats, builder.shl(first, number(2))))
        share = builder.fmul(share, splat(builder, REALS, per_unit))
        has_code = builder.fcmp_ordered(">=", share, last)
        word = _value_of(builder, table, _codes_of_floats(builder, share, falling), has_code)
        put_bytes(builder, builder.lshr(word, constant(WORDS, 8)), at(builder, high, first), sums[0])
        put_bytes(builder, builder.and_(word, constant(WORDS, 255)), at(builder, low, first), sums[1])
    return builder.or_(
        builder.shl(total_of_words(builder, sums[0]), number(32)), total_of_words(builder, sums[1])
    )
