"""The memory that compiled attention works in, one head and window at a time."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from bitfront.evaluators.kernels.lanes import LANES, LINE, aligned, padded
from bitfront.evaluators.kernels.lookup import TABLE
from bitfront.evaluators.kernels.vnni import TILE_ROWS


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
