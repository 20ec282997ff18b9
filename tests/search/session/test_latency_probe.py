"""Folders of probes and tables of their timings, as the command line and Python have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probe_timings import encoder_ms, timings_of

from bitfront.evaluators.latency.table_file import read_table
from bitfront.search.session.specs import chosen_latency
from bitfront.spaces import UserError

SHAPE = "65x32h2m64"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.search.session.latency_probe import write_probe

    path = tmp_path_factory.mktemp("probe") / "deit"
    found = write_probe(path, EvaluationSpec(model="digits_deit"))
    assert found.probes == {"openvino": 10, "onnxruntime": 10}
    assert found.to_json()["model"] == "digits_deit"
    return path


@pytest.fixture
def timings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    manifest = json.loads((folder / "manifest.json").read_text())
    document = timings_of(manifest)
    document["runs"] += timings_of(manifest, "onnxruntime", threads=2, batch=8)["runs"]
    (tmp_path / "timings.json").write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "timings.json"


def test_tables_are_made_of_timings_and_searched_with(bitfront: Callable, timings: Path) -> None:
    outcome = bitfront("latency-table", "--from-probe", timings)
    assert outcome.status == 0, outcome.err
    names = ["latency-digits_deit-deploy-openvino-b1.csv", "latency-digits_deit-deploy-onnxruntime-b8-t2.csv"]
    assert all(name in outcome.out for name in names)
    assert "WARNING" not in outcome.out
    assert f"next: bitfront search --latency table:{names[0]}" in outcome.err
    table = read_table(timings.parent / names[1])
    assert (table.source, table.machine, table.batch, table.threads) == (
        *("measured:onnxruntime", "abacus"), *(8, 2),
    )  # fmt: skip
    assert table.encoders[SHAPE, (4, 8, 4)].milliseconds == pytest.approx(
        8 * encoder_ms(SHAPE, (4, 8, 4)), rel=1e-3
    )
    source, batch = chosen_latency(f"table:{names[1]}", "deploy")
    assert (batch, source.timer.threads) == (8, 2)
    again = bitfront("latency-table", "--from-probe", timings)
    assert (again.status, "exists: choose another file" in again.error) == (2, True)


def test_one_table_is_chosen(bitfront: Callable, timings: Path) -> None:
    chosen = ("--latency", "measured:openvino", "--latency-batch", "1", "--output", "mine.csv", "--json")
    outcome = bitfront("latency-table", "--from-probe", timings, *chosen)
    assert outcome.status == 0, outcome.err
    (found,) = json.loads(outcome.out)["tables"]
    assert (found["path"], found["batch"], found["threads"]) == ("mine.csv", 1, 1)
    assert found["sum_error_percent"] < 0.5
    assert (found["misses"], found["disturbed"], len(found["checks"])) == (False, False, 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--output", "one.csv"), "is one file, the timings make 2 tables"),
        (("--latency-threads", "3"), "nothing of what was asked for: they have measured:openvino, batch 1;"),
        (("--bits", "4,8"), "--bits cannot be given with --from-probe"),
        (("--probe", "there"), "--probe cannot be given with --from-probe"),
    ],
)
def test_mistakes_with_timings_are_told(
    bitfront: Callable, timings: Path, options: tuple[str, ...], expected: str
) -> None:
    outcome = bitfront("latency-table", "--from-probe", timings, *options)
    assert outcome.status == 2
    assert expected in outcome.error
    assert not list(timings.parent.glob("*.csv"))


def test_damaged_timings_are_told_in_a_line(bitfront: Callable, timings: Path) -> None:
    timings.write_text(timings.read_text()[:1000])
    outcome = bitfront("latency-table", "--from-probe", timings)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "timings.json cannot be read" in outcome.error


def test_sums_that_miss_are_said_loudly(bitfront: Callable, timings: Path) -> None:
    document: dict[str, Any] = json.loads(timings.read_text())
    mean = document["runs"][0]["mean"]
    mean["check-0"] = [1.2 * ms for ms in mean["check-0"]]
    timings.write_text(json.dumps(document))
    outcome = bitfront("latency-table", "--from-probe", timings)
    assert outcome.status == 0, outcome.err
    assert "openvino-b1.csv miss whole models by up to 17 %" in outcome.out.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scheme", "fq-vit"), "scheme fq-vit has integer operators that no runtime has kernels for"),
        (("--latency-threads", "2"), "--latency-threads cannot be given with --probe"),
        (("--seconds", "2"), "--seconds cannot be given with --probe"),
    ],
)
def test_folders_that_cannot_be_made(
    bitfront: Callable, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    outcome = bitfront("latency-table", "--model", "digits_deit", "--probe", tmp_path / "new", *options)
    assert outcome.status == 2
    assert expected in outcome.error
    assert not (tmp_path / "new").exists()


def test_what_is_in_a_folder_is_kept(folder: Path, tmp_path: Path) -> None:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.search.session.latency_probe import write_probe

    spec = EvaluationSpec(model="digits_deit")
    with pytest.raises(UserError, match="is not empty: choose a new folder, or give --force"):
        write_probe(folder, spec)
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty: choose a new folder$"):
        write_probe(tmp_path, spec, force=True)
    assert write_probe(folder, spec, force=True).probes["openvino"] == 10
