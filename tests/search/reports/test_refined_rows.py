"""Refined points in the table of a front: below their own, marked, with what refining brought."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refined_cases import SEARCHED, write_refined_point

from bitfront.search.reports.front_rows import front_rows
from bitfront.search.reports.front_table import front_document, front_html
from bitfront.search.reports.refined_rows import refined_rows, with_refined
from bitfront.search.runs.reader import RecordedRun


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("refined")
    folder = make_run(root, count=60, encoders=3)
    trial = int(RecordedRun.read(root, folder.name).front["trial"].iloc[0])
    write_refined_point(root, folder.name, trial, gain=3.0)
    return folder


@pytest.fixture(scope="module")
def run(refined: Path) -> RecordedRun:
    return RecordedRun.read(refined.parent, refined.name)


def test_a_row_below_its_own(run: RecordedRun) -> None:
    rows = front_rows(run)
    found = with_refined(rows, refined_rows(run, rows))
    names = [row.name for row in found]
    trial = next(iter(run.refined_front))
    assert len(found) == len(rows) + 1
    assert names.index(f"{trial} refined") == names.index(str(trial)) + 1
    own, new = (found[names.index(name)] for name in (str(trial), f"{trial} refined"))
    assert new.quality == pytest.approx(own.quality + 3.0)
    assert new.test_quality == pytest.approx(own.test_quality + 2.0)
    assert (new.size_bytes, new.latency_ms, new.bits) == (own.size_bytes, own.latency_ms, own.bits)
    assert new.against_float is not None
    assert new.against_float.images == SEARCHED
    assert new.difference is not None
    assert new.difference.value == pytest.approx(new.against_float.difference)
    assert new.words.endswith("refining brought +2.00 ± 0.40 points")
    assert not new.knee
    assert not new.listed


def test_estimates_gain_what_was_counted(run: RecordedRun) -> None:
    rows = front_rows(run)
    trial = str(next(iter(run.refined_front)))
    known = [row._replace(estimate=90.0, estimate_error=0.3) if row.name == trial else row for row in rows]
    found = refined_rows(run, known)[trial]
    assert found.estimate == pytest.approx(93.0)
    assert found.estimate_error == pytest.approx(math.hypot(0.3, 0.4))
    plain = refined_rows(run, rows)[trial]
    assert math.isnan(plain.estimate)
    assert plain.estimated is None


def test_the_front_shows_it_whether_listed_or_not(
    run: RecordedRun, refined: Path, bitfront: Callable[..., Any]
) -> None:
    trial = next(iter(run.refined_front))
    for further in ((), ("--all",), ("--sort", "top1")):
        found = bitfront("front", refined.name, "--runs-dir", refined.parent, *further)
        lines = [line.split() for line in found.out.splitlines()]
        place = next(at for at, line in enumerate(lines) if line[:2] == [str(trial), "refined"])
        assert str(trial) in lines[place - 1][:2]
        assert "refined: the point above after `bitfront refine`, with the same bits" in found.out
    assert f"{trial} refined" in front_html(run)


def test_json_has_them_apart_from_the_front(run: RecordedRun) -> None:
    document = front_document(run)
    trial = next(iter(run.refined_front))
    (found,) = document["refined"]
    own = next(point for point in document["front"] if point["trial"] == trial)
    assert found["trial"] == trial
    assert found["size_bytes"] == own["size_bytes"]
    assert found["top1"] == pytest.approx(own["top1"] + 3.0)
    assert found["gain"]["test"]["top1"] == {
        "value": pytest.approx(2.0),
        "standard_error": pytest.approx(0.4),
    }
    assert found["learned_from"].startswith("128 that calibrate")
    assert len(document["front"]) == len(run.front)
    json.dumps(document["refined"], allow_nan=True, default=str)
