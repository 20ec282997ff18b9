"""An exported bit config is the front point it was picked from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bitfront.search.export import export_config
from bitfront.search.run_reader import Run, open_run
from bitfront.search.selection import pick
from bitfront.spaces import BitConfig, BitfrontError, Granularity, UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, run_folder: MakeRun) -> Run:
    run_folder(tmp_path, name="r", count=60, encoders=3)
    return open_run(tmp_path, "r")


@pytest.mark.parametrize("granularity", ["encoder", "encoder-kind", "layer"])
def test_config_is_the_picked_row(tmp_path: Path, run_folder: MakeRun, granularity: Granularity) -> None:
    run_folder(tmp_path, name="g", granularity=granularity, count=60, encoders=3)
    run = open_run(tmp_path, "g")
    for choice in ("knee", "top1", "latency", "size"):
        row = pick(run.front, choice)
        config = BitConfig.from_json(json.loads(export_config(run, choice).read_text()))
        assert config.digest == row["digest"]
        assert config.model == "digits_deit"


def test_document_says_what_was_measured_and_where_from(run: Run) -> None:
    trial = int(run.front["trial"].iloc[0])
    path = export_config(run, str(trial))
    document = json.loads(path.read_text())
    row = run.front.iloc[0]
    assert path == run.path / "exports" / f"trial{trial}-{row['digest']}.json"
    assert document["format"] == "bitfront/bit-config"
    assert document["version"] == 1
    assert document["measured"]["size_bytes"] == row["size_bytes"]
    assert document["measured"]["latency_source"] == "measured:torch"
    assert document["provenance"]["run"] == "r"
    assert document["provenance"]["trial"] == trial
    assert document["provenance"]["seed"] == 0
    assert document["provenance"]["recipe"] == document["provenance"]["evaluation"]["recipe"] == "best"
    assert document["provenance"]["without"] == ["log-base"]
    assert document["provenance"]["evaluation"]["data"] == "digits"
    assert document["provenance"]["bitfront"]


def test_missing_measurements_are_null(run: Run) -> None:
    front = run.front.assign(test_top1=float("nan"), latency_measured_ms=float("nan"))
    bare = Run(run.name, run.path, run.spec, run.trials, front, run.references, run.limits, run.summary)
    document = json.loads(export_config(bare, "knee").read_text())
    assert document["measured"]["test_top1"] is None
    assert "NaN" not in json.dumps(document)


def test_same_content_may_be_written_again_and_other_content_only_by_force(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "config.json"
    assert export_config(run, "top1", output) == output
    before = output.read_text()
    export_config(run, "top1", output)
    assert output.read_text() == before
    with pytest.raises(UserError, match="--force"):
        export_config(run, "size", output)
    assert output.read_text() == before
    export_config(run, "size", output, force=True)
    assert output.read_text() != before


def test_tampered_genes_are_noticed(run: Run, tmp_path: Path) -> None:
    front = pd.read_csv(run.path / "front.csv", dtype={"digest": str})
    front["encoder00.weights"] = 12 - front["encoder00.weights"]
    front.to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match="file was changed"):
        export_config(open_run(tmp_path, "r"), "knee")
    front["encoder00.weights"] = 5
    front.to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match="gene of 5 bits"):
        export_config(open_run(tmp_path, "r"), "knee")
    front.drop(columns="encoder00.weights").to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match=r"no column 'encoder00.weights'"):
        export_config(open_run(tmp_path, "r"), "knee")


def test_unwritable_output_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BitfrontError, match="cannot write") as caught:
        export_config(run, "knee", tmp_path / "file" / "config.json")
    assert "\n" not in str(caught.value)
