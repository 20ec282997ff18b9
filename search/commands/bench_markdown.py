"""A benchmark as Markdown, ready for a README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitfront.search.commands.bench_report import HEADINGS, TEXTS, by_batch, cells, remarks, title


def markdown(document: Mapping[str, Any]) -> str:
    """A table for each batch, what it says, and what its columns mean."""
    parts = [title(document)]
    for heading, rows in by_batch(document):
        parts += [f"**{heading}**", "\n".join(_table(rows))]
    parts += ["\n".join(f"- {line}" for line in lines) for lines in (document["findings"], remarks(document))]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield _line(HEADINGS)
    yield _line(["---" if place < TEXTS else "---:" for place in range(len(HEADINGS))])
    for row in rows:
        yield _line(cells(row))


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(value.replace('|', chr(92) + '|') for value in values)} |"
