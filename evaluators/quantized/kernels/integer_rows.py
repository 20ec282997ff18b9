"""The integer softmax of one row of scores as attention bytes, for the fused kernel.

A row's integer exponentials and attention codes depend on the difference between its largest score code and
each code, a byte.
"""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.quantized.kernels.attention_terms import ONE_BIT
from bitfront.evaluators.quantized.kernels.lanes import (
    BYTE,
    BYTES,
    DOUBLES,
    FLOAT,
    INT,
    LANES,
    LINE,
    LONGS,
    NARROW,
    NONE,
    WORDS,
    at,
    call,
    constant,
    every,
    kernel,
    load,
    number,
    round_to_words,
    smaller,
    splat,
    store,
    to_codes,
    variable,
)
from bitfront.evaluators.quantized.kernels.lookup import TABLE, look_up, read_table
from bitfront.evaluators.quantized.kernels.packing import sum_of_bytes, total


@kernel(NONE, INT, INT, FLOAT, INT, INT, INT, INT)
def score_codes(
    builder: Any, products: Any, vectors: Any, factor: Any, bias: Any, zero: Any, qmax: Any, out: Any
) -> None:
    """Codes of a row: ``clip(round(product * factor + bias) + zero, 0, qmax)``.

    There is no bias where its address is 0.
    """
    factors = splat(builder, DOUBLES, factor)
    biased = builder.icmp_unsigned("!=", bias, number(0))
    with builder.if_else(biased) as branches:
        for branch, with_bias in zip(branches, (True, False), strict=True):
            with branch, every(builder, vectors, LANES) as first:
                offset = builder.shl(first, number(2))
                value = builder.sitofp(load(builder, WORDS, at(builder, products, offset)), DOUBLES)
                value = builder.fmul(value, factors)
                if with_bias:
                    more = load(builder, DOUBLES, at(builder, bias, builder.shl(first, number(3))))
                    value = builder.fadd(value, more)
                store(builder, to_codes(builder, value, zero, qmax), at(builder, out, first))


@kernel(NONE, INT, INT, INT)
def to_differences(builder: Any, codes: Any, keep: Any, lines: Any) -> None:
    """Turns codes into their differences to the row's largest, in place; 0 where ``keep`` has no bits."""
    largest = variable(builder, constant(BYTES, 0))
    with every(builder, lines, LINE) as offset:
        kept = load(builder, BYTES, at(builder, keep, offset))
        value = builder.and_(load(builder, BYTES, at(builder, codes, offset)), kept)
        seen = builder.load(largest)
        builder.store(builder.select(builder.icmp_unsigned(">", value, seen), value, seen), largest)
    highest = splat(
        builder, BYTES, call(builder, "llvm.vector.reduce.umax.v64i8", BYTE, builder.load(largest))
    )
    with every(builder, lines, LINE) as offset:
        place = at(builder, codes, offset)
        difference = builder.sub(highest, load(builder, BYTES, place))
        store(builder, builder.and_(difference, load(builder, BYTES, at(builder, keep, offset))), place)


@kernel(INT, INT, INT, INT, INT)
def sum_of_table(builder: Any, positions: Any, lines: Any, planes: Any, count: Any) -> Any:
    """Sum of a table of integers at a row of positions.

    The table comes as planes of 256 bytes, one for each of the integers' ``count`` bytes, highest first.
    """
    sums = variable(builder, constant(LONGS, 0))
    with every(builder, count, TABLE) as plane:
        builder.store(builder.shl(builder.load(sums), constant(LONGS, 8)), sums)
        table = read_table(builder, at(builder, planes, plane))
        with every(builder, lines, LINE) as offset:
            value = load(builder, BYTES, at(builder, positions, offset))
            part = sum_of_bytes(builder, look_up(builder, table, value))
            builder.store(builder.add(builder.load(sums), part), sums)
    return total(builder, sums)


@kernel(INT, INT, INT, INT, INT, INT)
def translate(builder: Any, positions: Any, keep: Any, lines: Any, table: Any, out: Any) -> Any:
    """Writes the table's bytes at a row of positions, 0 where ``keep`` has no bits; returns their sum."""
    sums = variable(builder, constant(LONGS, 0))
    registers = read_table(builder, table)
    with every(builder, lines, LINE) as offset:
        found = look_up(builder, registers, load(builder, BYTES, at(builder, positions, offset)))
        value = builder.and_(found, load(builder, BYTES, at(builder, keep, offset)))
        store(builder, value, at(builder, out, offset))
        builder.store(builder.add(builder.load(sums), sum_of_bytes(builder, value)), sums)
    return total(builder, sums)


@kernel(NONE, INT, INT, FLOAT, FLOAT, INT)
def fill_uniform(
    builder: Any, exponentials: Any, vectors: Any, per_unit: Any, largest: Any, out: Any
) -> None:
    """Uniform codes ``min(round(exponential * per_unit), largest)`` of a table of doubles."""
    limit = splat(builder, DOUBLES, largest)
    with every(builder, vectors, LANES) as first:
        value = load(builder, DOUBLES, at(builder, exponentials, builder.shl(first, number(3))))
        value = builder.fmul(value, splat(builder, DOUBLES, per_unit))
        words = round_to_words(builder, smaller(builder, value, limit))
        store(builder, builder.trunc(words, NARROW), at(builder, out, first))


@kernel(NONE, INT, INT, FLOAT, FLOAT, FLOAT, INT)
def fill_logarithmic(
    builder: Any, exponentials: Any, vectors: Any, per_unit: Any, least: Any, unit: Any, out: Any
) -> None:
    """High and low bytes, 256 apart, of ``unit`` times the nearest powers of two, 0 below ``least``."""
    with every(builder, vectors, LANES) as first:
        value = load(builder, DOUBLES, at(builder, exponentials, builder.shl(first, number(3))))
        value = builder.fmul(value, splat(builder, DOUBLES, per_unit))
        spread = builder.fmul(value, constant(DOUBLES, ONE_BIT))
        power = builder.fsub(spread, builder.fsub(spread, value))
        enough = builder.fcmp_ordered(">=", power, splat(builder, DOUBLES, least))
        power = builder.select(enough, power, constant(DOUBLES, 0.0))
        word = builder.fptosi(builder.fmul(power, splat(builder, DOUBLES, unit)), WORDS)
        store(builder, builder.trunc(builder.lshr(word, constant(WORDS, 8)), NARROW), at(builder, out, first))
        store(builder, builder.trunc(word, NARROW), at(builder, out, first, TABLE))
