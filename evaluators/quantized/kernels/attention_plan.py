"""An encoder's attention as numbers and addresses for compiled code, and the memory that it works in."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.quantized.kernels.attention_terms import UNIT, AttentionTerms, IntegerScores
from bitfront.evaluators.quantized.kernels.lanes import LANES, LINE, aligned, padded
from bitfront.evaluators.quantized.kernels.logarithmic_rows import CODES
from bitfront.evaluators.quantized.kernels.lookup import TABLE
from bitfront.evaluators.quantized.kernels.vnni import TILE_ROWS

BYTE_BITS = 8
ALL_BITS = 255


class Room(NamedTuple):
    """Addresses of working memory for one head and window, and sizes that belong to them."""

    columns: int  # keys, in vectors
    size: int  # bytes of a row of attention, in lines
    width: int  # bytes of a packed row of a head
    channels: int  # of a head, in vectors
    queries: int  # bytes [tokens, width]
    query_terms: int  # int32 [tokens]
    packed: int  # bytes [tokens, width]
    keys: int  # words [width / 4, columns], 4 successive channels to a word
    key_terms: int  # int32 [columns]
    values: int  # words [tokens / 4, width], 4 successive tokens to a word
    products: int  # int32 [tile, columns]
    codes: int  # bytes [tile, size]
    tables: int  # bytes [tile, 2, 256]
    totals: int  # double [tile]
    floats: int  # float [tile, columns]
    attention: int  # bytes [2, tile, size]
    attention_terms: int  # int32 [2, tile]
    context: int  # int32 [2, tile, width]
    nothing: int  # int32 [width], zeros


def vectors_of(count: int) -> int:
    """``count`` in vectors of 16; the products take at least two."""
    return padded(count, LANES, 2 * LANES) // LANES


class WorkingMemory:
    """Working memory for windows of some tokens and heads of some channels.

    Args:
        tokens: Tokens of a window.
        head_dim: Channels of a head.
    """

    def __init__(self, tokens: int, head_dim: int) -> None:
        columns, channels, width = LANES * vectors_of(tokens), vectors_of(head_dim), padded(head_dim, LINE)
        size, whole = padded(columns, LINE), padded(tokens, TILE_ROWS)
        counts = {
            "queries": whole * width,
            "query_terms": 4 * whole,
            "packed": columns * width,
            "keys": columns * width,
            "key_terms": 4 * columns,
            "values": columns * width,
            "products": 4 * TILE_ROWS * columns,
            "codes": TILE_ROWS * size,
            "tables": TILE_ROWS * 2 * TABLE,
            "totals": 8 * TILE_ROWS,
            "floats": 4 * TILE_ROWS * columns,
            "attention": 2 * TILE_ROWS * size,
            "attention_terms": 4 * 2 * TILE_ROWS,
            "context": 4 * 2 * TILE_ROWS * width,
            "nothing": 4 * width,
        }
        *starts, total = accumulate((padded(count, LINE) for count in counts.values()), initial=0)
        self._array = aligned((total,), np.uint8)
        base = self._array.ctypes.data
        places = {name: base + start for name, start in zip(counts, starts, strict=True)}
        self.room = Room(columns=columns // LANES, size=size, width=width, channels=channels, **places)


class Plan(NamedTuple):
    """Terms, sizes and addresses for compiled code; 0 for addresses of what there is not, and their steps."""

    heads: int
    head_dim: int
    windows: int
    tokens: int  # of a window
    rows: int  # int32 [windows, tokens]
    zero: int
    factors: int  # double [heads]
    bias: int  # double or float [heads, tokens, columns]
    bias_head: int  # bytes from one head to the next
    bias_row: int
    keep: int  # bytes [windows, tokens, size], or one row for all: 255 where a key is seen
    keep_window: int
    keep_row: int
    visible: int  # int32 [windows, tokens], keys seen, or one number for all
    visible_window: int
    visible_row: int
    integer: int  # whether the softmax is
    score_zero: int
    score_qmax: int
    planes: int  # bytes [plane_count, 256], of the integer exponentials
    plane_count: int
    doubles: int  # double [256], the same exponentials
    largest_exponential: int
    reach: int  # vectors of differences that may have attention
    logarithmic: int
    thresholds: int  # double [16], where the base of the codes is not 2
    single_thresholds: int  # float [16], as above
    values: int  # int32 [16], as above
    operands: int  # bytes of an attention value
    scale: float
    largest: float
    least: float
    out_factor: float
    out_zero: int
    out_qmax: int


def _in_two_bytes(terms: AttentionTerms) -> bool:
    """Whether values of logarithmic codes take both bytes: minifloats and up to 8 powers of two do not."""
    return terms.minifloats is None and (terms.attention_codes > BYTE_BITS or terms.log_step != 1.0)


def _least(terms: AttentionTerms) -> float:
    """The least probability with a logarithmic code that is not zero's."""
    return min(threshold for threshold in terms.log_thresholds if threshold > 0.0)


class PreparedAttention:
    """The plan of one encoder's attention, with the arrays that it points into.

    Args:
        terms: The encoder's attention.
    """

    def __init__(self, terms: AttentionTerms) -> None:
        self._arrays: list[NDArray[Any]] = []
        columns = LANES * vectors_of(terms.window_tokens)
        size = padded(columns, LINE)
        codes, logarithmic = terms.attention_codes, terms.logarithmic
        operands = 2 if logarithmic and _in_two_bytes(terms) else 1
        unit = UNIT / 2.0 ** (BYTE_BITS * (2 - operands)) if logarithmic else 1.0
        lowest = 0.9 * _least(terms) if logarithmic else 0.4 * terms.attention_scale
        self.plan = Plan(
            heads=terms.heads,
            head_dim=terms.head_dim,
            windows=terms.windows,
            tokens=terms.window_tokens,
            rows=self._address(np.ascontiguousarray(terms.rows.numpy(), np.int32)),
            zero=terms.qkv_zero,
            factors=self._address(np.ascontiguousarray(terms.factors.numpy(), np.float64)),
            **self._bias(terms, columns),
            **self._seen(terms, size),
            integer=int(terms.softmax is not None),
            **self._scores(terms.softmax, lowest),
            logarithmic=int(logarithmic),
            **self._any_base(terms),
            operands=operands,
            scale=float(terms.attention_scale),
            largest=float(codes - 1),
            least=2.0 ** (1 - codes),
            out_factor=terms.out_factor / unit,
            out_zero=terms.out_zero,
            out_qmax=terms.out_qmax,
        )

    def _address(self, array: NDArray[Any]) -> int:
        self._arrays.append(array)
        return array.ctypes.data

    def _bias(self, terms: AttentionTerms, columns: int) -> dict[str, int]:
        if terms.bias is None:
            return {"bias": 0, "bias_head": 0, "bias_row": 0}
        tokens = terms.window_tokens
        array = aligned((terms.heads, tokens, columns), np.float32 if terms.softmax is None else np.float64)
        array[..., :tokens] = terms.bias.numpy()
        return {"bias": self._address(array), "bias_head": array.strides[0], "bias_row": array.strides[1]}

    def _seen(self, terms: AttentionTerms, size: int) -> dict[str, int]:
        tokens, masked = terms.window_tokens, terms.mask is not None
        keep = aligned((terms.windows, tokens, size) if masked else (1, 1, size), np.uint8)
        keep[..., :tokens] = ALL_BITS
        if terms.mask is not None:
            keep[..., :tokens][terms.mask.numpy()] = 0
        visible = (keep > 0).sum(-1).astype(np.int32)
        return {
            "keep": self._address(keep),
            "keep_window": keep.strides[0] * masked,
            "keep_row": keep.strides[1] * masked,
            "visible": self._address(visible),
            "visible_window": visible.strides[0] * masked,
            "visible_row": visible.strides[1] * masked,
        }

    def _any_base(self, terms: AttentionTerms) -> dict[str, int]:
        """What logarithmic codes of another base than 2 are looked up in."""
        names = "thresholds", "single_thresholds", "values"
        if not terms.by_thresholds:
            return dict.fromkeys(names, 0)
        thresholds, values = aligned((CODES,), np.float64), aligned((CODES,), np.int32)
        thresholds[: terms.attention_codes] = terms.log_thresholds
        values[: terms.attention_codes] = terms.log_values
        arrays = thresholds, thresholds.astype(np.float32), values
        return dict(zip(names, map(self._address, arrays), strict=True))

    def _scores(self, softmax: IntegerScores | None, lowest: float) -> dict[str, int]:
        """The integer softmax; no probability below ``lowest`` has an attention code."""
        names = "score_zero", "score_qmax", "planes", "plane_count", "doubles", "largest_exponential", "reach"
        if softmax is None:
            return dict.fromkeys(names, 0)
        table = np.zeros(TABLE, np.int64)
        table[: softmax.qmax + 1] = softmax.table.numpy()
        largest = int(table[0])
        count = -(-largest.bit_length() // BYTE_BITS)
        planes = aligned((count, TABLE), np.uint8)
        for plane in range(count):
            planes[plane] = (table >> (BYTE_BITS * (count - 1 - plane))) & ALL_BITS
        doubles = aligned((TABLE,), np.float64)
        doubles[:] = table
        # A probability is at most its exponential over the largest one.
        reach = int((doubles > lowest * largest).sum())
        values = (
            softmax.zero_point,
            softmax.qmax,
            self._address(planes),
            count,
            self._address(doubles),
            largest,
            -(-reach // LANES),
        )
        return dict(zip(names, values, strict=True))
