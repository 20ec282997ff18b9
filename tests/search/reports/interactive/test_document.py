"""What a report holds of a run: figures are those of the tables, choices those of the command line."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitfront.search.export.evidence import evidence_of
from bitfront.search.export.selection import default_choice, shortlist_of
from bitfront.search.reports.interactive.document import RunDocument, run_document
from bitfront.search.runs.reader import RecordedRun


@pytest.fixture(scope="module")
def run(runs_dir: Path) -> RecordedRun:
    return RecordedRun.read(runs_dir, "digits-1")


@pytest.fixture(scope="module")
def document(run: RecordedRun) -> RunDocument:
    return run_document(run)


def test_figures_and_genes_are_those_of_the_tables(run: RecordedRun, document: RunDocument) -> None:
    assert document.trial == run.trials["trial"].tolist()
    sizes = run.trials["size_bytes"] * 1e-6
    np.testing.assert_allclose(document.values["size"], sizes, equal_nan=True)
    np.testing.assert_allclose(document.values["top1"], run.trials["top1"], equal_nan=True)
    measured = dict(zip(document.trial, document.values["measured"], strict=True))
    for trial, value in zip(run.front["trial"], run.front["latency_measured_ms"], strict=True):
        assert measured[trial] == value
    assert sum(math.isfinite(value) for value in measured.values()) == len(run.front)
    for genes, row in zip(document.genes, run.trials.to_dict("records"), strict=True):
        assert [document.widths[int(digit)] for digit in genes] == [row[name] for name in document.gene_names]


def test_the_front_has_its_evidence(run: RecordedRun, document: RunDocument) -> None:
    front, found = document.front, evidence_of(run)
    assert [document.trial[row] for row in front.rows] == found.trials.tolist()
    assert front.quality == found.quality.tolist()
    pairs = np.frombuffer(base64.b64decode(front.pairs), dtype="<f4").reshape(len(front.rows), -1)
    np.testing.assert_allclose(pairs, found.differences.errors, rtol=1e-6)
    assert front.errors["top1"] == found.errors.tolist()
    assert document.star == default_choice(run).trial
    assert [one[0] for one in document.shortlist] == list(shortlist_of(run))
    assert sorted(trial for one in document.shortlist for trial in one) == sorted(run.front["trial"])


def test_axes_name_units_and_where_latencies_come_from(document: RunDocument) -> None:
    axes = {axis.key: axis for axis in document.axes}
    assert axes["top1"].title == "top-1 on the search split (%)"
    assert axes["test_top1"].better == 1
    assert axes["latency"].title == "latency (ms, of the search, measured:torch)"
    assert axes["measured"].title == "latency of the whole model (measured:torch)"
    assert [axes[f"bits_{kind}"].short for kind in ("weights", "attention")] == ["bits W", "bits T"]
    assert not axes["kl"].main
    assert document.limits == [
        {
            "key": "size",
            "side": "at most",
            "threshold": 1.25,
            "words": "--max-size 0.95x: at most 1,250,000 bytes",
        }
    ]


def test_modelled_latencies_are_called_so(run_folder: Callable[..., Path], tmp_path: Path) -> None:
    run_folder(tmp_path, count=40, source="model:bops")
    axes = {axis.key: axis for axis in run_document(RecordedRun.read(tmp_path, "digits-1")).axes}
    assert axes["latency"].title == "latency (ms, modelled, model:bops)"
    assert axes["latency"].short == "modelled latency"


@pytest.mark.parametrize(
    "how", [{"paired": False}, {"recorded": False}, {"granularity": "layer"}, {"count": 3}]
)
def test_runs_of_all_kinds_are_json(run_folder: Callable[..., Path], tmp_path: Path, how: dict) -> None:
    run_folder(tmp_path, **{"count": 60, **how})
    found = run_document(RecordedRun.read(tmp_path, "digits-1")).to_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["name"] == "digits-1"
    assert len(again["genes"]) == len(again["trial"]) == len(again["reason"])


def test_an_empty_front_is_a_document(run_folder: Callable[..., Path], tmp_path: Path) -> None:
    run_folder(tmp_path, count=40, max_size=1.0)
    found = run_document(RecordedRun.read(tmp_path, "digits-1"))
    assert found.star is None
    assert found.front.rows == found.shortlist == []
    json.dumps(found.to_json(), allow_nan=False)
