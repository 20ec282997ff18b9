"""``bitfront latency-table``: the file, the check of its sums, the template, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from additive_runtime import AdditiveRuntime, clock

from bitfront.evaluators.latency import measured
from bitfront.evaluators.latency.registry import TIMED_RUNTIMES, TimedRuntimeKind
from bitfront.evaluators.latency.table import Latency
from bitfront.evaluators.latency.table_file import read_table
from bitfront.search.reports.latency_table import print_table
from bitfront.search.reports.plots import run_plots
from bitfront.search.session.specs import chosen_latency

SHAPE = "65x32h2m64"
ABACUS = ("--model", "digits_deit", "--latency", "measured:abacus", "--scheme", "deploy")


@pytest.fixture(autouse=True)
def abacus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AdditiveRuntime:
    runtime = AdditiveRuntime()

    def load(threads: int) -> AdditiveRuntime:
        runtime.threads = threads
        return runtime

    monkeypatch.setitem(TIMED_RUNTIMES, "abacus", TimedRuntimeKind(("deploy",), load))
    monkeypatch.setattr(measured, "time_interleaved", clock)
    monkeypatch.chdir(tmp_path)
    return runtime


def test_table_is_written_and_checked(
    bitfront: Callable, tmp_path: Path, abacus: AdditiveRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    abacus.between_ms = 0.25
    outcome = bitfront("latency-table", *ABACUS, "--latency-batch", "2")
    assert outcome.status == 0, outcome.err
    path = tmp_path / "latency-digits_deit-deploy-abacus-b2.csv"
    table = read_table(path)
    assert (table.source, table.scheme, table.machine, table.batch) == (
        "measured:abacus",
        "deploy",
        "beads",
        2,
    )
    assert table.rest.milliseconds == pytest.approx(6.5)
    assert table.encoders[SHAPE, (8, 4, 4)].milliseconds == pytest.approx(2 * (0.8 + 0.8 + 0.2))
    lines = outcome.out.splitlines()
    assert lines[0] == "digits_deit (deploy), measured:abacus on beads, milliseconds for a batch of 2"
    assert lines[-1] == path.name
    assert "encoder      65x32h2m64  W4A4T4" in outcome.out.replace("W4 A4 T4", "W4A4T4")
    assert "differ from whole models by 0.0 % on average, 0.0 % at most, W8A8T8 apart" in outcome.out
    assert "rest: with what W8A8T8 takes longer than its parts" in outcome.out
    assert "busy" not in outcome.out
    assert f"search --model digits_deit --scheme deploy --latency table:{path.name}" in outcome.err


def test_json_has_everything(bitfront: Callable, tmp_path: Path) -> None:
    outcome = bitfront("latency-table", *ABACUS, "--bits", "3,8", "--output", "t.csv", "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["path"], found["latency_source"], found["machine"]) == ("t.csv", "measured:abacus", "beads")
    assert (found["model"], found["scheme"], found["recipe"]) == ("digits_deit", "deploy", "best")
    assert len(found["encoders"]) == 8
    assert found["encoders"][0] == {
        "shape": SHAPE, "count": 12, "weights": 8, "activations": 8, "attention": 8,
        "milliseconds": pytest.approx(2.8), "spread_percent": 1.0,
    }  # fmt: skip
    assert [check["name"] for check in found["checks"]] == [
        "W8A8T8", "W3A3T3", "mixed 1", "mixed 2", "mixed 3", "mixed 4",
    ]  # fmt: skip
    assert len({check["digest"] for check in found["checks"]}) == 6
    for check in found["checks"]:
        assert check["sum_ms"] == pytest.approx(check["measured_ms"])
    assert found["largest_error_percent"] == pytest.approx(0.0, abs=1e-9)
    assert found["rest"]["milliseconds"] == 3.0
    assert found["float_model"]["milliseconds"] == 90.0


def test_sums_that_miss_are_told(bitfront: Callable, abacus: AdditiveRuntime, monkeypatch) -> None:
    def slow_when_mixed(subject, config, batch):
        mixed = len({(e.weights, e.activations, e.attention) for e in config.encoders}) > 1
        milliseconds = AdditiveRuntime.model(abacus, subject, config, batch)()
        return lambda: milliseconds * (1.25 if mixed else 1.0)

    monkeypatch.setattr(abacus, "model", slow_when_mixed)
    found = json.loads(bitfront("latency-table", *ABACUS, "--json").out)
    errors = {check["name"]: check["error_percent"] for check in found["checks"]}
    assert errors["W4A4T4"] == pytest.approx(0.0, abs=1e-9)
    assert [errors[f"mixed {n}"] for n in (1, 2, 3, 4)] == pytest.approx([-20.0] * 4)
    assert found["largest_error_percent"] == pytest.approx(20.0)
    assert found["mean_error_percent"] == pytest.approx(16.0)


def test_threads_are_in_the_table_and_its_name(bitfront: Callable, tmp_path: Path) -> None:
    outcome = bitfront("latency-table", *ABACUS, "--latency-threads", "2")
    assert outcome.status == 0, outcome.err
    assert read_table(tmp_path / "latency-digits_deit-deploy-abacus-b1-t2.csv").threads == 2
    assert "milliseconds for one image on 2 threads" in outcome.out
    template = ("latency-table", "--model", "digits_deit", "--template", "t.csv", "--latency-threads", "4")
    assert json.loads(bitfront(*template, "--json").out)["threads"] == 4
    assert {line.split(",")[-2] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]} == {"4"}


def test_a_disturbed_table_is_measured_again(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = iter((80.0, 1.0, 0.5))

    def calmer(runs, *_):
        spread = next(spreads)
        return {name: Latency(entry.milliseconds, spread) for name, entry in clock(runs).items()}

    monkeypatch.setattr(measured, "time_interleaved", calmer)
    outcome = bitfront("latency-table", *ABACUS, "--output", "t.csv")
    assert outcome.status == 0, outcome.err
    assert read_table(tmp_path / "t.csv").rest.spread_percent == 1.0
    assert next(spreads) == 0.5


def test_sums_that_miss_are_said_loudly_and_kept(
    bitfront: Callable, tmp_path: Path, abacus: AdditiveRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_when_mixed(subject, config, batch):
        mixed = len({(e.weights, e.activations, e.attention) for e in config.encoders}) > 1
        milliseconds = AdditiveRuntime.model(abacus, subject, config, batch)()
        return lambda: milliseconds * (1.25 if mixed else 1.0)

    monkeypatch.setattr(abacus, "model", slow_when_mixed)
    outcome = bitfront("latency-table", *ABACUS, "--seconds", "1", "--output", "t.csv")
    assert "WARNING: sums of this table miss whole models by up to 20 %" in outcome.out
    # Four of five models that the table was not filled up at are missed by a fifth.
    assert read_table(tmp_path / "t.csv").sum_error == pytest.approx(0.2 * (4 / 5) ** 0.5, rel=0.01)


def test_a_single_width_has_one_check(bitfront: Callable) -> None:
    outcome = bitfront("latency-table", *ABACUS, "--bits", "8")
    assert outcome.status == 0, outcome.err
    assert "on average" not in outcome.out


def test_precisions_that_share_a_time_share_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    def entry(bits: tuple[int, int, int], milliseconds: float, spread: float = 1.0) -> dict[str, object]:
        named = dict(zip(("weights", "activations", "attention"), bits, strict=True))
        return {"shape": "s", "count": 3, "milliseconds": milliseconds, "spread_percent": spread, **named}

    encoders = [entry((w, 8, 8), 1.0) for w in (4, 8)] + [entry((4, 4, 4), 2.0), entry((8, 8, 4), 2.0)]
    single = {"milliseconds": 0.5, "spread_percent": 12.0}
    check = {"name": "W8A8T8", "sum_ms": 3.5, "measured_ms": 3.5, "error_percent": 0.0, "spread_percent": 0.0}
    print_table(
        {
            "model": "m", "scheme": "deploy", "latency_source": "measured:x", "machine": "y", "batch": 1,
            "threads": 1, "encoders": encoders, "rest": single, "float_model": single, "checks": [check],
        },
        Path("t.csv"),
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "milliseconds for one image" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("encoder")]
    assert rows == [
        ["encoder", "s", "W4,8", "A8", "T8", "3", "1", "1.0", "%"],
        ["encoder", "s", "W4A4T4", "W8A8T4", "3", "2", "1.0", "%"],
    ]
    assert "repeats differ by up to 12 %: the machine was busy" in out


def test_template_is_filled_in_elsewhere_and_searched_with(bitfront: Callable, tmp_path: Path) -> None:
    outcome = bitfront(
        "latency-table", "--template", "t.csv", "--model", "vit_tiny_patch16_224", "--scheme", "deploy",
        "--latency-batch", "4", "--bits", "4,6",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "t.csv: 11 rows without milliseconds, for batches of 4" in outcome.out
    hinted = "bitfront search --model vit_tiny_patch16_224 --scheme deploy --bits 4,6 --latency table:t.csv"
    assert hinted in outcome.err
    unfilled = bitfront("search", "--model", "digits_deit", "--scheme", "deploy", "--latency", "table:t.csv")
    assert unfilled.status == 2
    assert "t.csv is not filled in: 11 of 11 rows have no milliseconds (lines 2 to 12)" in unfilled.error
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["shape"] for row in rows[:-2]} == {"197x192h3m768"}
    assert {(row["batch"], row["scheme"]) for row in rows} == {("4", "deploy")}
    described = json.loads(
        bitfront(
            "latency-table", "--model", "digits_deit", "--scheme", "fq-vit", "--template", "u.csv", "--json"
        ).out
    )
    assert described == {"path": "u.csv", "rows": 10, "scheme": "fq-vit", "batch": 1, "threads": 1}


@pytest.mark.parametrize("option", ["--output", "--template"])
def test_other_files_are_kept(bitfront: Callable, tmp_path: Path, option: str) -> None:
    (tmp_path / "t.csv").write_text("precious")
    outcome = bitfront("latency-table", "--model", "digits_deit", option, "t.csv")
    assert outcome.status == 2
    assert "error: t.csv exists: choose another file" in outcome.error
    assert (tmp_path / "t.csv").read_text() == "precious"
    assert outcome.err.count("\n") == 1, "nothing was prepared"
    if option == "--template":
        assert bitfront("latency-table", "--model", "digits_deit", option, "t.csv", "--force").status == 0
        assert read_rows(tmp_path / "t.csv") == 10


def read_rows(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--latency", "model:bops"), "--latency model:bops measures nothing"),
        (("--latency", "measured:abacus"), "measured:abacus runs scheme deploy only"),
        (("--template", "t.csv", "--seconds", "5"), "--seconds cannot be given with --template"),
        (("--template", "t.csv", "--latency", "measured"), "--latency cannot be given with --template"),
        (("--output", "nowhere/t.csv"), "there is no folder nowhere"),
        (("--output", "."), "it is a folder"),
        (("--model", "resnet18"), "resnet18 cannot be quantized"),
        (("--bits", "4,16"), "--bits"),
        (("--checkpoint", "gone.pth"), "no such checkpoint: gone.pth"),
    ],
)
def test_mistakes_leave_nothing_behind(
    bitfront: Callable, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    outcome = bitfront("latency-table", "--model", "digits_deit", *options)
    assert outcome.status == 2
    assert expected in outcome.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("latency", [pytest.param("table", marks=pytest.mark.thorough), "measured"])
def test_a_search_times_its_front_in_the_runtime_it_went_by(
    bitfront: Callable, tmp_path: Path, abacus: AdditiveRuntime, monkeypatch: pytest.MonkeyPatch, latency: str
) -> None:
    monkeypatch.setattr(run_plots, "write_plots", lambda run: [])
    abacus.between_ms = 0.5
    source = ABACUS
    if latency == "table":
        assert bitfront("latency-table", *ABACUS, "--output", "t.csv").status == 0
        source = ("--latency", "table:t.csv", "--scheme", "deploy")
        abacus.between_ms = 1.0  # since then the machine has become slower
    outcome = bitfront(
        "search", "--model", "digits_deit", *source, "--run", "r", "--evaluations", "12", "--population", "6",
        "--workers", "1", "--search-images", "100", "--test-images", "100", "--batch-size", "20", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    summary = json.loads((tmp_path / "runs" / "r" / "summary.json").read_text())
    assert summary["latency_measured_source"] == found["latency_measured_source"] == "measured:abacus"
    named = "table:t.csv (measured:abacus, beads)" if latency == "table" else "measured:abacus"
    assert found["latency_source"] == summary["latency_source"] == named
    assert ("was measured on beads" in outcome.err) == (latency == "table")
    lag = 0.5 if latency == "table" else 0.0
    for point in found["front"]:
        assert point["latency_measured_ms"] == pytest.approx(point["latency_ms"] + lag, rel=1e-4)
    kept = read_table(tmp_path / "runs" / "r" / "latency_table.csv")
    assert (kept.scheme, kept.machine) == ("deploy", "beads")


class TestChosenLatency:
    def test_measured_and_modelled_times_take_any_batch(self) -> None:
        for name in ("measured:abacus", "model:t4"):
            assert chosen_latency(name, "deploy", 8)[1] == 8

    def test_a_table_has_its_own(self, tmp_path: Path, bitfront: Callable) -> None:
        assert bitfront("latency-table", *ABACUS, "--latency-batch", "2", "--output", "t.csv").status == 0
        assert chosen_latency("table:t.csv", "deploy")[1] == 2
        source, batch = chosen_latency("table:t.csv", "deploy", 2)
        assert batch == 2
        assert source.timer.source == "measured:abacus"
