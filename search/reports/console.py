"""What a command prints: tables and sentences for a person, or one JSON document for a machine."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 240


def stdout_console() -> Console:
    """Where results go; wide enough for any table where it is no terminal."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """Where progress and hints go."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    from rich.console import Console

    class PipeConsole(Console):
        """Lets a reader that has gone be seen, which ends a command quietly."""

        def on_broken_pipe(self) -> None:
            raise

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return PipeConsole(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=None if terminal else _WIDE
    )


def print_lines(console: Console, lines: Iterable[str], style: str = "") -> None:
    """Prints sentences, each on a line that terminals wrap and files keep whole."""
    for line in lines:
        console.print(line, style=style, soft_wrap=True)


def print_json(document: Any) -> None:
    """Prints a document as JSON on stdout; values that are not numbers become null."""
    print(json.dumps(plain(document), indent=2, allow_nan=False))


def hint(*commands: str) -> None:
    """Names the commands to try next, on stderr."""
    console = stderr_console()
    for position, command in enumerate(commands):
        console.print(f"{'next: ' if position == 0 else '      '}{command}", style="dim", soft_wrap=True)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity as null, paths as text, numpy numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
