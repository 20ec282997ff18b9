"""Refined points in a report: their figures by axis, what refining brought, and the facts beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from refined_cases import write_refined_point

from bitfront.search.reports.interactive.document import run_document
from bitfront.search.reports.interactive.page import report_page
from bitfront.search.runs.reader import RecordedRun


def test_a_report_has_them(tmp_path: Path, run_folder: Callable[..., Path]) -> None:
    run_folder(tmp_path, count=60, encoders=3)
    bare = run_document(RecordedRun.read(tmp_path, "digits-1"))
    assert bare.refined == []
    trial = int(RecordedRun.read(tmp_path, "digits-1").front["trial"].iloc[0])
    write_refined_point(tmp_path, "digits-1", trial, gain=3.0)
    run = RecordedRun.read(tmp_path, "digits-1")
    document = run_document(run)
    (found,) = document.refined
    assert document.trial[found.row] == found.trial == trial
    own = {key: values[found.row] for key, values in document.values.items()}
    assert found.values["size"] == own["size"]
    assert found.values["bits_weights"] == own["bits_weights"]
    assert found.values["top1"] == pytest.approx(own["top1"] + 3.0)
    assert found.values["test_top1"] == pytest.approx(own["test_top1"] + 2.0)
    assert found.gains["top1"] == pytest.approx((3.0, 0.4))
    assert "size" not in found.gains
    assert (f"{trial} refined", f"without labels, from {found.learned_from}") in document.facts
    assert json.loads(json.dumps(document.to_json()))["refined"][0]["trial"] == trial
    # The front, the star and the list are those of the search.
    assert (document.front, document.star, document.shortlist) == (bare.front, bare.star, bare.shortlist)
    assert "refining brought +2.00" in report_page([run])
