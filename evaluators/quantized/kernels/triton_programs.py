"""What a CUDA GPU runs, in Triton: linear layers, rows of the residual stream, attention, codebooks.

Every program computes the codes that ``kernels.portable`` defines. Steps that must be exact are in float64
or in integers; products and sums are not contracted (``enable_fp_fusion=False`` at every launch), as that
would round once where the definition rounds twice. What differs between layers, such as zero points, is read
from memory: numbers that are part of a program would have it compiled again for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from bitfront.evaluators.quantized.kernels.attention_terms import HALFWAY, ONE_BIT, UNIT
from bitfront.evaluators.quantized.kernels.layer_norm import FINEST_STEP, MULTIPLIER_MAX

# Adding and subtracting 1.5 * 2^23 (float32) or 1.5 * 2^52 (float64) rounds to the nearest integer, ties to
# even, wherever the result is not clipped to codes anyway.
_ROUNDING32 = tl.constexpr(1.5 * 2.0**23)
_ROUNDING64 = tl.constexpr(1.5 * 2.0**52)
_ROOT_HALF = tl.constexpr(0.5**0.5)
# Of a float64: its exponent, one step of the exponent, and the sum of the exponents of x and 1 / x.
_EXPONENT = tl.constexpr(0x7FF0000000000000)
_ONE_EXPONENT = tl.constexpr(1 << 52)
_TWO_BIASES = tl.constexpr(2046 << 52)
# Of a float32: its exponent, and what carries mantissas from sqrt(2) up into it.
_EXPONENT32 = tl.constexpr(0x7F800000)
_CARRY32 = tl.constexpr(0x800000 - 0x3504F3)
_LARGEST_MULTIPLIER, _FINEST_STEP = tl.constexpr(MULTIPLIER_MAX), tl.constexpr(FINEST_STEP)
_HALFWAY, _ONE_BIT, _UNIT = tl.constexpr(HALFWAY), tl.constexpr(ONE_BIT), tl.constexpr(UNIT)
# Where the terms of attention have the smallest probabilities of logarithmic codes, their values (rising,
# as many as codes of 4 bits) and the heads' factors.
_LOG_CODES = tl.constexpr(16)
_THRESHOLDS, _VALUES, _FACTORS = tl.constexpr(9), tl.constexpr(25), tl.constexpr(41)

LOOKED_UP = 4096
# Compiled programs by all that they are compiled for.
_COMPILED: dict[Hashable, Any] = {}
# Integers that programs are not compiled for, not even for whether they are 1 or divisible by 16.
_ARGUMENTS = ["rows", "heads", "windows", "tokens", "period", "zero", "qmax", "count"]


def program(function: Callable[..., Any]) -> Any:
    """Compiles a function for the GPU that it is first launched on."""
    return triton.jit(function, do_not_specialize=_ARGUMENTS)


@program
def _nearest32(value: tl.tensor) -> tl.tensor:
    return (value + _ROUNDING32) - _ROUNDING32


@program
def _nearest64(value: tl.tensor) -> tl.tensor:
    return (value + _ROUNDING64) - _ROUNDING64


@program
def _clipped(value: tl.tensor, zero: tl.tensor, qmax: tl.tensor) -> tl.tensor:
    return tl.minimum(tl.maximum(value + zero, 0.0), qmax)


@program
def _bytes(value: tl.tensor) -> tl.tensor:
    return value.to(tl.int32).to(tl.uint8)


@program
def look_up(
    codes: tl.tensor, table: tl.tensor, out: tl.tensor, count: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """Entries of a table of bytes at ``count`` codes."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    found = tl.load(table + tl.load(codes + at, mask=at < count, other=0).to(tl.int32))
    tl.store(out + at, found, mask=at < count)


@program
def linear(
    x: tl.tensor,
    weight: tl.tensor,
    terms: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    columns: tl.tensor,
    inner: tl.tensor,
    rows: tl.tensor,
    per_step: tl.tensor,
    zero: tl.tensor,
    qmax: tl.tensor,
    CODES: tl.constexpr,
    GELU: tl.constexpr,
    TABLE: tl.constexpr,
    MASKED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    TALL: tl.constexpr,
) -> None:
    """A tile of a linear layer: int8 products with int32 sums, then all that follows while they are at hand.

    ``x`` is uint8 ``[rows, inner]``, which is int8 less 128; ``weight`` int8 ``[columns, inner]``; ``terms``
    int32 ``[3, columns]``: what the sums lack for zero points, then the bits of float32 factors and biases;
    ``table`` a codebook where ``TABLE``; ``out`` ``[rows, columns]`` of uint8 where ``CODES``, else float32.
    """
    # Tiles in the order of TALL rows of tiles, column after column, so that what one reads is in the cache.
    tile, across, down = tl.program_id(0), tl.cdiv(columns, COLUMNS), tl.cdiv(rows, ROWS)
    strip = tile // (TALL * across) * TALL
    high = tl.minimum(down - strip, TALL)
    m = (strip + tile % (TALL * across) % high) * ROWS + tl.arange(0, ROWS)
    n = tile % (TALL * across) // high * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, INNER)
    left = x + tl.minimum(m, rows - 1).to(tl.int64)[:, None] * inner + k[None, :]
    right = weight + tl.minimum(n, columns - 1)[None, :] * inner + k[:, None]
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for start in range(0, inner, INNER):
        if MASKED:
            codes = tl.load(left, mask=k[None, :] < inner - start, other=0)
            weights = tl.load(right, mask=k[:, None] < inner - start, other=0)
        else:
            codes, weights = tl.load(left), tl.load(right)
        total = tl.dot((codes ^ 128).to(tl.int8, bitcast=True), weights, total, out_dtype=tl.int32)
        left += INNER
        right += INNER
    here = n < columns
    missing = tl.load(terms + n, mask=here, other=0)
    factor = tl.load(terms + columns + n, mask=here, other=0).to(tl.float32, bitcast=True)
    bias = tl.load(terms + 2 * columns + n, mask=here, other=0).to(tl.float32, bitcast=True)
    value = (total + missing[None, :]).to(tl.float32) * factor[None, :] + bias[None, :]
    if GELU:
        value = 0.5 * value * (1.0 + tl.erf(value * _ROOT_HALF))
    place = out + m.to(tl.int64)[:, None] * columns + n[None, :]
    inside = (m < rows)[:, None] & here[None, :]
    if CODES:
        codes = _clipped(_nearest32(value * per_step), zero.to(tl.float32), qmax.to(tl.float32)).to(tl.int32)
        if TABLE:
            tl.store(place, tl.load(table + codes), mask=inside)
        else:
            tl.store(place, codes.to(tl.uint8), mask=inside)
    else:
        tl.store(place, value, mask=inside)


@program
def integer_row(
    x: tl.tensor,
    y: tl.tensor,
    total: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    norms: tl.tensor,
    channels: tl.tensor,
    period: tl.tensor,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A row of the integer residual stream: the sum where ``ADD``, and LayerNorm's codes where ``NORM``.

    ``sums`` and ``norms`` are float64: the channels' numbers one after the other, then those of all. One
    warp goes along the row twice, as the divisions in between would cost every further warp as much, and
    takes ``BLOCK`` channels at a time: two for each thread, which read 16 bytes side by side.
    """
    row, count = tl.program_id(0).to(tl.int64), channels.to(tl.float64)
    sum_scalars, norm_scalars = sums + 2 * channels, norms + 5 * channels
    source = x + row * channels
    first, second = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    for start in range(0, channels, BLOCK):
        c = start + tl.arange(0, BLOCK)
        here = c < channels
        code = tl.load(source + c, mask=here, other=0).to(tl.float64)
        if ADD:
            other = tl.load(y + row % period * channels + c, mask=here, other=0).to(tl.float64)
            left = (code - tl.load(sum_scalars)) * tl.load(sums + c, mask=here, other=0.0)
            right = (other - tl.load(sum_scalars + 1)) * tl.load(sums + channels + c, mask=here, other=0.0)
            code = _clipped(_nearest64(left + right), tl.load(sum_scalars + 2), tl.load(sum_scalars + 3))
            tl.store(total + row * channels + c, _bytes(code), mask=here)
        if NORM:
            value = (code - tl.load(norm_scalars)) * tl.load(norms + c, mask=here, other=0.0)
            # Integers below 2^53: exact in any order.
            first += value
            second += value * value
    if ADD:
        source = total + row * channels
        tl.debug_barrier()  # what one thread has stored, another may load
    if NORM:
        whole, squares = tl.sum(first, 0), tl.sum(second, 0)
        mean, variance = whole / count, (count * squares - whole * whole) / (count * count)
        inverse = 1.0 / tl.sqrt(variance + tl.load(norm_scalars + 1))
        # frexp: inverse = fraction * power, the fraction in [1/2, 1).
        bits = (inverse.to(tl.int64, bitcast=True) & _EXPONENT) + _ONE_EXPONENT
        power = bits.to(tl.float64, bitcast=True)
        fraction = inverse / power
        for start in range(0, channels, BLOCK):
            c = start + tl.arange(0, BLOCK)
            here = c < channels
            code = tl.load(source + c, mask=here, other=0).to(tl.float64)
            term = norms + c
            value = (code - tl.load(norm_scalars)) * tl.load(term, mask=here, other=0.0)
            gain = tl.load(term + channels, mask=here, other=0.0)
            mantissa = tl.load(term + 2 * channels, mask=here, other=0.0)
            step = tl.load(term + 3 * channels, mask=here, other=1.0)
            bias = tl.load(term + 4 * channels, mask=here, other=0.0)
            below = tl.where(mantissa * fraction < 0.5, 0.5, 1.0)
            unit = tl.minimum(tl.maximum(step * power * below, _FINEST_STEP), 1.0)
            # A power of two, whose inverse has the opposite exponent.
            per_unit = (-unit.to(tl.int64, bitcast=True) + _TWO_BIASES).to(tl.float64, bitcast=True)
            multiplier = _nearest64(gain * inverse * per_unit)
            multiplier = tl.minimum(tl.maximum(multiplier, -_LARGEST_MULTIPLIER), _LARGEST_MULTIPLIER)
            offset = _nearest64(bias * per_unit - multiplier * mean)
            codes = tl.floor((multiplier * value + offset) * unit + 0.5)
            codes = _clipped(codes, tl.load(norm_scalars + 2), tl.load(norm_scalars + 3))
            tl.store(out + row * channels + c, _bytes(codes), mask=here)


@program
def float_row(
    x: tl.tensor,
    y: tl.tensor,
    total: tl.tensor,
    out: tl.tensor,
    norms: tl.tensor,
    channels: tl.tensor,
    ADD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A row of the float residual stream: the sum where ``ADD``, and LayerNorm's codes.

    ``norms`` is float32: weights, biases, then epsilon, one over the output scale, zero point and ``qmax``.
    """
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    here, scalars = c < channels, norms + 2 * channels
    value = tl.load(x + row * channels + c, mask=here, other=0.0)
    if ADD:
        value += tl.load(y + row * channels + c, mask=here, other=0.0)
        tl.store(total + row * channels + c, value, mask=here)
    deviation = tl.where(here, value - tl.sum(value, 0) / channels, 0.0)
    variance = tl.sum(deviation * deviation, 0) / channels
    weight = tl.load(norms + c, mask=here, other=0.0)
    bias = tl.load(norms + channels + c, mask=here, other=0.0)
    normed = deviation * (1.0 / tl.sqrt(variance + tl.load(scalars))) * weight + bias
    codes = _nearest32(normed * tl.load(scalars + 1))
    codes = _clipped(codes, tl.load(scalars + 2), tl.load(scalars + 3))
    tl.store(out + row * channels + c, _bytes(codes), mask=here)


@program
def _centred(codes: tl.tensor, zero: tl.tensor, inside: tl.tensor) -> tl.tensor:
    return tl.where(inside, tl.load(codes, mask=inside, other=0).to(tl.float16) - zero, 0.0)


@program
def attention(
    qkv: tl.tensor,
    places: tl.tensor,
    bias: tl.tensor,
    mask: tl.tensor,
    table: tl.tensor,
    terms: tl.tensor,
    out: tl.tensor,
    windows: tl.tensor,
    tokens: tl.tensor,
    heads: tl.tensor,
    INTEGER: tl.constexpr,
    BIAS: tl.constexpr,
    MASK: tl.constexpr,
    KIND: tl.constexpr,
    COUNT: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Attention of some queries to all keys of their window, for one head.

    Centred codes, attention codes and powers of two are exact in float16, and the sums of their products,
    integers below 2^24, in float32.

    ``qkv`` is uint8 ``[images * tokens, 3, heads, WIDTH]``, ``out`` without the 3; ``places`` int32
    ``[windows, COUNT]``, the token at each place; ``bias`` ``[heads, COUNT, COUNT]``, float64 where
    ``INTEGER``, else float32; ``mask`` bytes ``[windows, COUNT, COUNT]``, not 0 where a key is hidden;
    ``table`` the integer exponentials; ``terms`` float64, in the order of ``kernels.cuda``. Attention codes
    are uniform, logarithmic to base 2, or to another base (``KIND``).
    """
    blocks = tl.cdiv(COUNT, QUERIES)
    head, window = tl.program_id(1), tl.program_id(0) // blocks % windows
    first = (tl.program_id(0) // blocks // windows).to(tl.int64) * tokens
    i = tl.program_id(0) % blocks * QUERIES + tl.arange(0, QUERIES)
    j, d = tl.arange(0, KEYS), tl.arange(0, CHANNELS)
    row, column = (i < COUNT)[:, None], (j < COUNT)[None, :]
    asking = first + tl.load(places + window * COUNT + i, mask=i < COUNT, other=0)
    asked = first + tl.load(places + window * COUNT + j, mask=j < COUNT, other=0)
    part = heads * WIDTH
    from_query = qkv + (asking * (3 * part) + head * WIDTH)[:, None] + d[None, :]
    from_key = qkv + (asked * (3 * part) + head * WIDTH + part)[:, None] + d[None, :]
    zero = tl.load(terms).to(tl.float16)
    has_key = (j < COUNT)[:, None] & (d < WIDTH)[None, :]
    q = _centred(from_query, zero, row & (d < WIDTH)[None, :])
    k = _centred(from_key, zero, has_key)
    products = tl.dot(q, tl.trans(k))
    factor = tl.load(terms + _FACTORS + head)
    pair = i[:, None] * COUNT + j[None, :]
    seen = column
    if MASK:
        seen = column & (tl.load(mask + window * COUNT * COUNT + pair, mask=row & column, other=0) == 0)
    largest = tl.load(terms + 4)
    least = tl.load(terms + 5)
    if INTEGER:
        steps = products.to(tl.float64) * factor
        if BIAS:
            steps += tl.load(bias + head * COUNT * COUNT + pair, mask=row & column, other=0.0)
        codes = _clipped(_nearest64(steps), tl.load(terms + 1), tl.load(terms + 2)).to(tl.int32)
        codes = tl.where(seen, codes, 0)
        exponentials = tl.load(table + (tl.max(codes, 1)[:, None] - codes))
        exponentials = tl.where(seen, exponentials, 0)
        # In int64, where float64 might round.
        total = tl.sum(exponentials, 1).to(tl.float64)
        share = exponentials.to(tl.float64)
        if KIND == 0:
            share = tl.minimum(_nearest64(share * (1.0 / (total * tl.load(terms + 3)))[:, None]), largest)
        elif KIND == 1:
            # Dekker's splitting; see kernels.attention_terms.
            share = share * ((1.0 / total) * _HALFWAY)[:, None]
            spread = share * _ONE_BIT
            share = spread - (spread - share)
            share = tl.where(share < least, 0.0, share * _UNIT)
        else:
            share = share * (1.0 / total)[:, None]
    else:
        scores = products * factor.to(tl.float32)
        if BIAS:
            scores += tl.load(bias + head * COUNT * COUNT + pair, mask=row & column, other=0.0)
        scores = tl.where(seen, scores, float("-inf"))
        share = tl.exp(scores - tl.max(scores, 1)[:, None])
        share = share * (1.0 / tl.sum(share, 1))[:, None]
        if KIND == 0:
            per_code = (1.0 / tl.load(terms + 3)).to(tl.float32)
            share = tl.minimum(_nearest32(share * per_code), largest.to(tl.float32))
        elif KIND == 1:
            # The power of two below, or above from sqrt(2) times it on.
            bits = (share.to(tl.int32, bitcast=True) + _CARRY32) & _EXPONENT32
            share = bits.to(tl.float32, bitcast=True)
            share = tl.where(share < least.to(tl.float32), 0.0, share * _UNIT)
    v = _centred(from_key + part, zero, has_key)
    if KIND == 2:
        # Values of 16 bits go in two halves.
        value = tl.zeros((QUERIES, KEYS), tl.int32)
        for code in tl.static_range(_LOG_CODES):
            reached = share >= tl.load(terms + _THRESHOLDS + code).to(share.dtype)
            value = tl.where(reached, tl.load(terms + _VALUES + code).to(tl.int32), value)
        context = tl.dot((value >> 8).to(tl.float16), v).to(tl.float64) * 256.0
        context += tl.dot((value & 255).to(tl.float16), v).to(tl.float64)
    else:
        context = tl.dot(share.to(tl.float32).to(tl.float16), v).to(tl.float64)
    codes = _nearest64(context * tl.load(terms + 6))
    codes = _clipped(codes, tl.load(terms + 7), tl.load(terms + 8))
    to = out + (asking * part + head * WIDTH)[:, None] + d[None, :]
    tl.store(to, _bytes(codes), mask=row & (d < WIDTH)[None, :])


def launch(
    program: Any,
    grid: tuple[int, int, int],
    tensors: Sequence[torch.Tensor],
    sizes: tuple[int, ...],
    numbers: tuple[float, ...],
    constants: tuple[int, ...],
    warps: int,
    stages: int = 3,
) -> None:
    """Runs a program with arguments in its order: tensors, sizes, numbers, compiled constants.

    Triton takes longer to find a compiled program than many programs run, so those of addresses that 16
    divides are kept here, by their constants, which decide the types of tensors, and by sizes. Programs are
    compiled for none of the numbers.
    """
    arguments = (*tensors, *sizes, *numbers, *constants)
    aligned = all(tensor.data_ptr() % 16 == 0 for tensor in tensors)
    device = tensors[0].get_device()
    key = program.__name__, device, sizes, constants, warps, stages
    compiled = _COMPILED.get(key) if aligned else None
    with torch.cuda.device(device):
        if compiled is not None:
            compiled[grid](*arguments)
            return
        # Rounding twice, as the definitions do, wants products and sums of their own.
        options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": False}
        compiled = program[grid](*arguments, **options)
    if aligned and compiled is not None:
        _COMPILED[key] = compiled


def replaced_codes(codes: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Levels of a codebook, uint8 ``[256]``, at contiguous codes."""
    out, grid = torch.empty_like(codes), (triton.cdiv(codes.numel(), LOOKED_UP), 1, 1)
    launch(look_up, grid, (codes, codebook, out), (), (codes.numel(),), (LOOKED_UP,), 4)
    return out
