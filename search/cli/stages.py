"""Status lines for the steps before a search: what is being done, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def stage(console: Console, text: str) -> Iterator[Callable[[float], None]]:
    """Shows ``text`` while the block runs and ``text ... 3.2 s`` when it has ended well.

    Args:
        console: Where to write, usually stderr; a spinner turns there if it is a terminal.
        text: What is being done, such as ``calibrating digits_deit on 128 images``.

    Yields:
        A function that takes the share that is done, from 0 to 1, and shows it.
    """
    started = time.perf_counter()
    with console.status(text) as status:
        yield lambda share: status.update(f"{text} ... {100 * share:.0f} %")
    console.print(f"{text} ... {time.perf_counter() - started:.1f} s", soft_wrap=True)
