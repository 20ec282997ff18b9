"""The attention of one encoder in one pass over uint8 codes, for CPUs with AVX512-VNNI.

Both products run on bytes with int32 sums, a tile of queries at a time, and only that tile's scores exist
at any moment. Unsigned codes ``q``, ``k`` with zero point ``z`` become exact products of centred codes by
terms of rank one: ``(q - z)(k - z) = q k' - z' q - z k' + z z'`` with ``k' = k - 128``, ``z' = z - 128``.
"""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch

from bitfront.evaluators.quantized.kernels.attention_plan import (
    BYTE_BITS,
    Plan,
    PreparedAttention,
    Room,
    WorkingMemory,
)
from bitfront.evaluators.quantized.kernels.attention_terms import HALFWAY, UNIT, AttentionTerms
from bitfront.evaluators.quantized.kernels.compiled import compiled
from bitfront.evaluators.quantized.kernels.float_rows import (
    exponentials,
    logarithmic_bytes,
    scale_scores,
    uniform_bytes,
)
from bitfront.evaluators.quantized.kernels.integer_rows import (
    fill_logarithmic,
    fill_uniform,
    score_codes,
    sum_of_table,
    to_differences,
    translate,
)
from bitfront.evaluators.quantized.kernels.lanes import LINE
from bitfront.evaluators.quantized.kernels.logarithmic_rows import any_base_bytes, fill_any_base
from bitfront.evaluators.quantized.kernels.lookup import TABLE
from bitfront.evaluators.quantized.kernels.packing import (
    double_at,
    interleave_rows,
    pack_row,
    put_codes,
    put_double,
    put_word,
    transpose_words,
    word_at,
)
from bitfront.evaluators.quantized.kernels.vnni import TILE_ROWS, multiply

# Signed bytes are unsigned ones less this.
SIGN = 128
# Rounding log2 changes powers of two here, which makes them powers at or below the product with it.
SQRT2 = math.sqrt(2.0)
LOW_HALF = 0xFFFFFFFF
_PREPARED: weakref.WeakKeyDictionary[AttentionTerms, PreparedAttention] = weakref.WeakKeyDictionary()


@compiled
def _pack(qkv: int, step: int, first: int, window: int, head: int, plan: Plan, room: Room) -> None:
    """Packs the operands of one head and window."""
    part, lines, groups = plan.heads * plan.head_dim, room.width // LINE, -(-plan.tokens // 4)
    signed_zero = plan.zero - SIGN
    both = plan.head_dim * plan.zero * signed_zero
    start = qkv + first * step + head * plan.head_dim
    tokens = plan.rows + 4 * window * plan.tokens
    for i in range(plan.tokens):
        source = start + word_at(tokens + 4 * i) * step
        total = pack_row(source, plan.head_dim, room.queries + i * room.width, lines, 0)
        put_word(room.query_terms + 4 * i, -signed_zero * total)
        total = pack_row(source + part, plan.head_dim, room.packed + i * room.width, lines, SIGN)
        put_word(room.key_terms + 4 * i, both - plan.zero * (total - SIGN * plan.head_dim))
    transpose_words(room.packed, room.width, room.columns, room.keys, LINE * room.columns, lines)
    for i in range(plan.tokens):
        source = start + word_at(tokens + 4 * i) * step + 2 * part
        pack_row(source, plan.head_dim, room.packed + i * room.width, lines, SIGN)
    interleave_rows(room.packed, room.width, groups, room.values, lines)


@compiled
def _integer_rows(
    count: int, factor: float, bias: int, keep: int, visible: int, plan: Plan, room: Room
) -> None:
    """Attention of a tile's rows of products by the integer softmax.

    One step at a time for all rows, which hides how long each takes for one.
    """
    lines, step = room.size // LINE, LINE * room.columns
    for i in range(count):
        score_codes(
            room.products + i * step,
            room.columns,
            factor,
            bias + i * plan.bias_row,
            plan.score_zero,
            plan.score_qmax,
            room.codes + i * room.size,
        )
    for i in range(count):
        to_differences(room.codes + i * room.size, keep + i * plan.keep_row, lines)
    for i in range(count):
        total = sum_of_table(room.codes + i * room.size, lines, plan.planes, plan.plane_count)
        # Keys that are not seen count as difference 0.
        hidden = room.size - word_at(visible + i * plan.visible_row)
        put_double(room.totals + 8 * i, np.float64(total - hidden * plan.largest_exponential))
    for i in range(count):
        whole = double_at(room.totals + 8 * i)
        table = room.tables + 2 * TABLE * i
        if plan.thresholds:
            fill_any_base(plan.doubles, plan.reach, 1.0 / whole, plan.thresholds, plan.values, table)
        elif plan.logarithmic:
            fill_logarithmic(plan.doubles, plan.reach, HALFWAY / whole, plan.least, UNIT, table)
        else:
            fill_uniform(plan.doubles, plan.reach, 1.0 / (whole * plan.scale), plan.largest, table)
    for o in range(plan.operands):
        for i in range(count):
            row = o * TILE_ROWS + i
            codes, table = room.codes + i * room.size, room.tables + (2 * i + o) * TABLE
            out = room.attention + row * room.size
            total = translate(codes, keep + i * plan.keep_row, lines, table, out)
            put_word(room.attention_terms + 4 * row, (SIGN - plan.zero) * total)


@compiled
def _float_rows(count: int, factor: float, bias: int, keep: int, plan: Plan, room: Room) -> None:
    """Attention of a tile's rows of products by the softmax in float32."""
    single, scale = np.float32(factor), np.float32(plan.scale)
    columns, step, low = room.columns, LINE * room.columns, TILE_ROWS * room.size
    for i in range(count):
        here, kept = bias + i * plan.bias_row, keep + i * plan.keep_row
        products, floats = room.products + i * step, room.floats + i * step
        put_double(room.totals + 8 * i, scale_scores(products, columns, single, here, kept, floats))
    for i in range(count):
        highest = np.float32(double_at(room.totals + 8 * i))
        put_double(room.totals + 8 * i, exponentials(room.floats + i * step, columns, highest))
    for i in range(count):
        total = np.float32(double_at(room.totals + 8 * i))
        floats, out = room.floats + i * step, room.attention + i * room.size
        if plan.thresholds:
            per_unit, thresholds = np.float32(1.0) / total, plan.single_thresholds
            sums = any_base_bytes(floats, columns, per_unit, thresholds, plan.values, out, out + low)
        elif plan.logarithmic:
            per_unit, least = np.float32(SQRT2) / total, np.float32(plan.least)
            sums = logarithmic_bytes(floats, columns, per_unit, least, np.float32(UNIT), out, out + low)
        else:
            per_unit = np.float32(1.0) / (total * scale)
            sums = uniform_bytes(floats, columns, per_unit, np.float32(plan.largest), out)
        # The sum of the high bytes is in the upper half.
        terms = room.attention_terms + 4 * i
        put_word(terms, (SIGN - plan.zero) * (sums >> 32))
        put_word(terms + 4 * TILE_ROWS, (SIGN - plan.zero) * (sums & LOW_HALF))


@compiled
def _put_tile(
    out: int, first: int, window: int, head: int, start: int, count: int, plan: Plan, room: Room
) -> None:
    """Requantizes a tile's sums into their places in the output."""
    part, step = head * plan.head_dim, 4 * room.width
    two = plan.operands == 2
    for i in range(count):
        token = word_at(plan.rows + 4 * (window * plan.tokens + start + i))
        high, low = room.context + i * step, room.context + (TILE_ROWS + i) * step
        put_codes(
            high,
            BYTE_BITS if two else 0,
            low if two else room.nothing,
            plan.head_dim,
            room.channels,
            plan.out_factor,
            plan.out_zero,
            plan.out_qmax,
            out + (first + token) * plan.heads * plan.head_dim + part,
        )


@compiled
def _attend(qkv: int, out: int, batch: int, tokens: int, plan: Plan, room: Room) -> None:
    """Attention of every image, head and window."""
    step, columns = 3 * plan.heads * plan.head_dim, LINE * room.columns
    channel_groups, groups = -(-plan.head_dim // 4), -(-plan.tokens // 4)
    for job in range(batch * plan.windows * plan.heads):
        # Heads of a window share cache lines of the codes.
        place, head = job // plan.heads, job % plan.heads
        image, window = place // plan.windows, place % plan.windows
        factor = double_at(plan.factors + 8 * head)
        _pack(qkv, step, image * tokens, window, head, plan, room)
        for start in range(0, plan.tokens, TILE_ROWS):
            count = min(plan.tokens - start, TILE_ROWS)
            multiply(
                room.queries + start * room.width,
                room.width,
                room.keys,
                columns,
                channel_groups,
                room.query_terms + 4 * start,
                room.key_terms,
                room.products,
                columns,
                room.columns,
            )
            bias = plan.bias + head * plan.bias_head + start * plan.bias_row
            keep = plan.keep + window * plan.keep_window + start * plan.keep_row
            if plan.integer:
                visible = plan.visible + window * plan.visible_window + start * plan.visible_row
                _integer_rows(count, factor, bias, keep, visible, plan, room)
            else:
                _float_rows(count, factor, bias, keep, plan, room)
            for o in range(plan.operands):
                multiply(
                    room.attention + o * TILE_ROWS * room.size,
                    room.size,
                    room.values,
                    4 * room.width,
                    groups,
                    room.attention_terms + 4 * o * TILE_ROWS,
                    room.nothing,
                    room.context + 4 * o * TILE_ROWS * room.width,
                    4 * room.width,
                    room.channels,
                )
            _put_tile(out, image * tokens, window, head, start, count, plan, room)


def fused_attention(qkv: torch.Tensor, batch: int, terms: AttentionTerms) -> torch.Tensor:
    """Attention output codes of the codes of queries, keys and values, where ``vnni_available()``.

    The first call with some terms prepares them, so terms are to be kept.

    Args:
        qkv: uint8 ``[batch * tokens, 3 * heads * head_dim]``: queries, keys and values, each by head.
        batch: Number of images.
        terms: The encoder's attention.

    Returns:
        uint8 ``[batch * tokens, heads * head_dim]``.
    """
    prepared = _PREPARED.get(terms)
    if prepared is None:
        prepared = _PREPARED[terms] = PreparedAttention(terms)
    qkv = qkv.contiguous()
    out = torch.empty(len(qkv), terms.heads * terms.head_dim, dtype=torch.uint8)
    memory = WorkingMemory(terms.window_tokens, terms.head_dim)
    _attend(qkv.data_ptr(), out.data_ptr(), batch, len(qkv) // batch, prepared.plan, memory.room)
    return out
