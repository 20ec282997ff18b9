"""Every layout of weights and data comes to what its row says, and the documents say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_layouts import CHECKPOINTS
from data_layouts import DATA
from layout import Layout, tried
from table_layouts import TABLES as TABLE_LAYOUTS
from write_tables import PAGE, TABLES, begins, marks


def named(layout: Layout) -> str:
    return f"{layout.tool}: {layout.holds}"


@pytest.mark.parametrize("layout", [*CHECKPOINTS, *DATA, *TABLE_LAYOUTS], ids=named)
def test_a_layout_is_read_right_or_refused(layout: Layout, tmp_path: Path) -> None:
    outcome = tried(layout, tmp_path)
    if layout.refused is not None:
        assert outcome.error is not None
        assert layout.refused in outcome.error
        assert "\n" not in outcome.error
        return
    assert outcome.error is None
    assert outcome.right
    if layout.said is not None:
        assert any(layout.said in note for note in outcome.notes), outcome.notes


@pytest.mark.parametrize("name", TABLES)
def test_the_documents_list_every_layout(name: str) -> None:
    """`python tests/layouts/write_tables.py` renews them."""
    first, last = marks(name)
    table = PAGE.read_text(encoding="utf-8").partition(first)[2].partition(last)[0]
    rows = table.splitlines()[2:]
    assert len(rows) == len(TABLES[name])
    for layout, row in zip(TABLES[name], rows, strict=True):
        came = "read" if layout.refused is None else "refused: "
        assert row.startswith(f"{begins(layout)}{came}"), row
