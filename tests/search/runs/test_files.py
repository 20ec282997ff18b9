"""Files of JSON lines: what a kill cut short is repaired, and what is whole is left alone."""

from __future__ import annotations

from pathlib import Path

from bitfront.search.runs.files import cut_incomplete_line


def test_a_whole_journal_is_left_alone(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    assert cut_incomplete_line(journal) == 0
    journal.write_bytes(b'{"a":1}\n{"b":2}\n')
    assert cut_incomplete_line(journal) == 0
    journal.write_bytes(b'{"a":1}\n\0\0\0\n')
    assert cut_incomplete_line(journal) == 4
    assert journal.read_bytes() == b'{"a":1}\n'
