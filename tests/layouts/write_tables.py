"""Writes the tables of layouts into the documents: every row is made from scratch and read."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from checkpoint_layouts import CHECKPOINTS
from data_layouts import DATA
from layout import Layout, tried
from table_layouts import TABLES as TABLE_LAYOUTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-and-weights.md"
TABLES: dict[str, Sequence[Layout]] = {"weights": CHECKPOINTS, "data": DATA, "tables": TABLE_LAYOUTS}
_HEADER = "| written by | what it is | what comes of it |\n| --- | --- | --- |\n"


def begins(layout: Layout) -> str:
    """The row without what came of it."""
    return f"| {layout.tool} | {layout.holds} | "


def marks(name: str) -> tuple[str, str]:
    """Lines of the page between which a table is."""
    return f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"


def main() -> int:
    """Tries every layout and renews the page; the status is 1 where one is read wrong."""
    text, wrong = PAGE.read_text(encoding="utf-8"), 0
    for name, layouts in TABLES.items():
        rows = []
        for layout in layouts:
            with tempfile.TemporaryDirectory() as folder:
                outcome = tried(layout, Path(folder))
            expected = (layout.refused is None) == (outcome.error is None) and (
                outcome.right or outcome.error is not None
            )
            wrong += not expected
            rows.append(f"{begins(layout)}{outcome.words(layout)} |\n")
            print(rows[-1], end="", flush=True)
        first, last = marks(name)
        before, _, rest = text.partition(first)
        _, _, after = rest.partition(last)
        text = f"{before}{first}{_HEADER}{''.join(rows)}{last}{after}"
    PAGE.write_text(text, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
