"""Inspection of pickles without loading them: which functions and classes would they call?"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# What a file of plain tensors refers to: torch.FloatStorage, torch._utils._rebuild_tensor_v2, ...
_TENSOR_FORMAT = re.compile(
    r"torch\.\w+|torch\.(_\w+|storage|nn\.parameter)\..*|collections\.OrderedDict|numpy\..*"
)
_NAMING = {"GLOBAL", "STACK_GLOBAL", "INST"}
_LARGEST_PICKLE = 64 * 2**20


def foreign_names(path: Path) -> tuple[str, ...]:
    """Functions and classes other than those of tensors that unpickling a file would import.

    Reads plain pickles and torch's two formats; nothing is imported or called. Empty for files that are
    no pickles.
    """
    names = (name for stream in _streams(path) for name in _imported(stream))
    return tuple(dict.fromkeys(name for name in names if not _TENSOR_FORMAT.fullmatch(name)))


def _streams(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield io.BytesIO(file.read(_LARGEST_PICKLE))
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                with archive.open(name) as member:
                    yield io.BytesIO(member.read(_LARGEST_PICKLE))


def _imported(stream: IO[bytes]) -> Iterator[str]:
    """Dotted names in the order of the opcodes; torch's legacy format is several pickles in a row."""
    strings: list[str] = []
    while True:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in _NAMING:
                    # STACK_GLOBAL takes the two strings before it, the others carry both in their argument
                    parts = strings[-2:] if argument is None else str(argument).split(" ")
                    yield ".".join(parts)
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # the pickles have ended, or this never was one: genops raises many types
            return
