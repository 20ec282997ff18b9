"""``bitfront bench``: its files, its table, being stopped, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bitfront.evaluators.latency.bench import measuring
from bitfront.evaluators.latency.bench import torch_entries as bfloat16
from bitfront.evaluators.latency.bench.memory import Memory
from bitfront.search.engine.stopping import InterruptGuard
from bitfront.search.reports.bench import markdown
from bitfront.spaces import BitConfig, BitfrontError, EncoderBits

QUICK = (
    "bench",
    "--model",
    "digits_deit",
    "--budget",
    "1s",
    "--batches",
    "2,1",
    "--runtimes",
    "torch",
    "--uniform",
    "W8A8T8,W4A8T8",
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No processes are started; the processor computes in bfloat16 and runs are here."""
    monkeypatch.setattr(
        measuring, "memory_in_fresh_process", lambda entry, batch: Memory(7_000_000, batch * 10**7)
    )
    monkeypatch.setattr(bfloat16, "cpu_flags", lambda: {"amx_bf16"})
    monkeypatch.chdir(tmp_path)


def candidates(rows: list[dict[str, Any]], batch: object) -> set[str]:
    return {row["contestant"] for row in rows if row["batch"] == batch}


def test_everything_is_written_and_printed(bitfront: Callable, tmp_path: Path) -> None:
    outcome = bitfront(*QUICK, "--output", "out")
    assert outcome.status == 0, outcome.err
    with (tmp_path / "out" / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    everyone = {"float32", "dynamic INT8", "bfloat16", "W8A8T8", "W4A8T8"}
    assert candidates(rows, "1") == candidates(rows, "2") == everyone
    assert [row["batch"] for row in rows] == ["1"] * 5 + ["2"] * 5
    for batch in ("1", "2"):
        times = [float(row["p50_ms"]) for row in rows if row["batch"] == batch]
        assert times == sorted(times)
    eager = next(row for row in rows if row["contestant"] == "float32" and row["batch"] == "2")
    assert float(eager["times_eager_float32"]) == 1.0
    assert (eager["peak_rss_bytes"], eager["imports_rss_bytes"]) == ("20000000", "7000000")
    eager_of_one = next(row for row in rows if row["contestant"] == "float32" and row["batch"] == "1")
    for row in rows:
        assert float(row["p50_ms"]) <= float(row["p90_ms"])
        mean_ms = 1e3 * int(row["batch"]) / float(row["images_per_second"])
        assert 0.3 * float(row["p50_ms"]) < mean_ms < 10 * float(row["p90_ms"])
    written = (tmp_path / "out" / "bench.md").read_text()
    table = [line for line in written.splitlines() if line.startswith("|")]
    assert len(table) == 2 * (2 + 5)
    assert len({line.count("|") for line in table}) == 1
    assert "| 10 (7) |" in written
    assert "- batch 2: torch's dynamic INT8 against PyTorch eager float32: " in written
    with Image.open(tmp_path / "out" / "bench.png") as picture:
        assert picture.width > 1500
    assert (
        f"batch 1: {eager_of_one['warmup']} warm-up and 5 times {eager_of_one['iterations']} timed"
        in outcome.out
    )
    assert "note: baselines are left out: images of 16 pixels are too small for them" in outcome.out
    assert outcome.out.splitlines()[-1] == "out"


def test_json_has_everything(bitfront: Callable, tmp_path: Path) -> None:
    outcome = bitfront(*QUICK, "--output", "out", "--json")
    document = json.loads(outcome.out)
    assert document["model"] == "digits_deit"
    assert document["weights"] == "embedded"
    assert (document["scheme"], document["threads"], document["interrupted"]) == ("deploy", 1, False)
    assert "torch" in document["packages"]
    assert len(document["rows"]) == 10
    assert document["files"] == [f"out/bench.{suffix}" for suffix in ("csv", "md", "png")]
    packed = next(row for row in document["rows"] if row["contestant"] == "W4A8T8")
    assert packed["products"] == 74
    assert packed["warmup"] >= 3
    assert packed["repeats"] == 5


def test_configurations_come_from_files(bitfront: Callable, tmp_path: Path) -> None:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.evaluators.latency.measured import stand_in

    spec = EvaluationSpec(model="digits_deit", scheme="deploy", recipe="gptq", batch_size=1, threads=1)
    subject = stand_in(spec, keep_codes=True, progress=lambda _: None)
    config = subject.uniform((4, 8, 4))
    document = config.to_json(provenance={"evaluation": spec.to_json()})
    (tmp_path / "mine.json").write_text(json.dumps(document))
    outcome = bitfront(*QUICK[:-2], "--uniform", "none", "--config", "mine.json", "--output", "out", "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["recipe"] == "gptq", "as it was found"
    assert candidates(found["rows"], 1) == {"float32", "dynamic INT8", "bfloat16", "mine"}
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.json").write_text(json.dumps(document))
    twice = bitfront(*QUICK, "--config", "mine.json", "more/mine.json")
    assert "two configurations are called mine" in twice.error
    other = bitfront(*QUICK, "--config", "mine.json", "--model", "digits_vit")
    assert other.status == 2
    assert "mine.json is for model digits_deit, not digits_vit: give --model digits_deit" in other.error
    fully = bitfront(*QUICK, "--config", "mine.json", "--scheme", "fq-vit")
    assert "mine.json is for scheme deploy, not fq-vit" in fully.error


def test_a_graphs_file_carries_its_configuration(tmp_path: Path) -> None:
    import onnx

    from bitfront.evaluators.deployment.graph.writer import GraphWriter
    from bitfront.search.session.specs import read_config_document

    config = BitConfig("m", "deploy", (EncoderBits(0, "blocks.0", 8, 8, 8),))
    for name, text in (("a", json.dumps(config.to_json())), ("b", None)):
        writer = GraphWriter()
        writer.op("Identity", "x", output="y")
        onnx.save(writer.model({"x": (1,)}, {"y": (1,)}, text), tmp_path / f"{name}.onnx")
    assert read_config_document(tmp_path / "a.onnx")["model"] == "m"
    with pytest.raises(BitfrontError, match="carries no bit config"):
        read_config_document(tmp_path / "b.onnx")
    (tmp_path / "c.onnx").write_bytes(b"\xff\xfe not a model")
    with pytest.raises(BitfrontError, match="is no ONNX file"):
        read_config_document(tmp_path / "c.onnx")


def test_ctrl_c_writes_what_was_measured(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    timed = measuring.sample_interleaved

    def stop_in_the_second_batch(*arguments: Any) -> Any:
        asked.append(1)
        found = timed(*arguments)
        if len(asked) == 1:
            guards[0].requested = True
        return found

    guards: list[InterruptGuard] = []
    start = InterruptGuard.__enter__

    def remembered(self: InterruptGuard) -> InterruptGuard:
        guards.append(self)
        return start(self)

    monkeypatch.setattr(InterruptGuard, "__enter__", remembered)
    monkeypatch.setattr(measuring, "sample_interleaved", stop_in_the_second_batch)
    outcome = bitfront(*QUICK, "--output", "out")
    assert outcome.status == 130
    assert "stopped before everything was measured" in outcome.out
    rows = (tmp_path / "out" / "bench.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"1"}
    assert (tmp_path / "out" / "bench.png").exists()


def test_ctrl_c_before_anything_is_measured_writes_nothing(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: InterruptGuard) -> InterruptGuard:
        self.requested = True
        return self

    monkeypatch.setattr(InterruptGuard, "__enter__", interrupted)
    outcome = bitfront(*QUICK, "--output", "out")
    assert outcome.status == 130
    assert outcome.err.splitlines()[-1] == "interrupted"
    assert not list((tmp_path / "out").iterdir())


def test_without_bfloat16_it_is_left_out_and_said_so(
    bitfront: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bfloat16, "cpu_flags", lambda: {"avx2"})
    found = json.loads(bitfront(*QUICK, "--output", "out", "--json").out)
    assert candidates(found["rows"], 1) == {"float32", "dynamic INT8", "W8A8T8", "W4A8T8"}
    assert any(note.startswith("this processor has no bfloat16 instructions") for note in found["notes"])


def test_a_runtime_that_is_missing_is_left_out_unless_asked_for(
    bitfront: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "bitfront.search.session.bench_options",
        "bitfront.evaluators.deployment.runtimes.registry",
    ):
        monkeypatch.setattr(f"{module}.runtime_is_installed", lambda name: False)
    outcome = bitfront("bench", "--model", "digits_deit", "--runtimes", "torch,openvino")
    assert outcome.status == 2
    assert outcome.error.startswith("error: openvino is not installed: pip install")
    assert outcome.err.count("\n") == 1, "nothing was prepared"
    everything = [*QUICK[:5], "--uniform", "none", "--output", "out", "--json"]
    found = json.loads(bitfront(*everything).out)
    assert {row["runtime"] for row in found["rows"]} == {"torch"}
    assert sum("is not installed and left out" in note for note in found["notes"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--uniform", "W8A8"), "'W8A8' is not a uniform assignment"),
        (("--uniform", "W8A8T8,"), "--uniform 'W8A8T8,' is no list"),
        (("--batches", "0"), "--batches '0' is no list of numbers from 1 to 1024"),
        (("--batches", "none"), "--batches 'none' is no list of numbers"),
        (("--budget", "soon"), "'soon' is not a duration"),
        (("--runtimes", "tensorrt"), "unknown runtime 'tensorrt': choose from openvino, onnxruntime, torch"),
        (("--runtimes", "none"), "give at least one of"),
        (("--runtimes", "openvino", "--scheme", "fq-vit"), "openvino runs scheme deploy only"),
        (("--config", "missing.json"), "missing.json cannot be read as a bit config"),
        (("--config", "missing.safetensors"), "no such file: missing.safetensors"),
        (("--output", "file"), "cannot write file"),
        (("--output", "earlier"), "--output earlier has a bench.md"),
        (("--batch", "8"), "has no option --batch: did you mean --batches?"),
    ],
)
def test_mistakes_are_told_before_anything_is_prepared(
    bitfront: Callable, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "bench.md").write_text("precious")
    outcome = bitfront("bench", "--model", "digits_deit", *arguments)
    assert outcome.status == 2
    assert said in outcome.error
    assert outcome.err.count("\n") == 1
    assert (tmp_path / "earlier" / "bench.md").read_text() == "precious"


def test_markdown_has_a_table_for_each_batch() -> None:
    row = {
        "contestant": "W8|A8", "runtime": "openvino", "p50_ms": 7.123456, "p90_ms": 8.0,
        "images_per_second": 140.0, "times_eager_float32": 3.9, "spread_percent": 2.0,
        "peak_rss_bytes": None, "imports_rss_bytes": None,
        "file_bytes": 6_290_000, "integer_products": 74, "products": 74, "warmup": 50, "iterations": 100,
        "repeats": 5, "baseline": False,
    }  # fmt: skip
    document = {
        "model": "m", "machine": "abacus", "packages": {"torch": "2"}, "findings": ["it is so"], "notes": [],
        "interrupted": False, "rows": [{**row, "batch": 1}, {**row, "batch": 8}],
    }  # fmt: skip
    text = markdown(document)
    assert text.startswith(
        "m on abacus, 1 thread (torch 2)\n\n**batch 1: 50 warm-up and 5 times 100 timed iterations**"
    )
    assert text.count("| W8\\|A8 | openvino | 7.123 | 8 | 140.0 | 3.90 | 2.0 % | — | 6.29 | 74/74 |") == 2
    assert "\n- it is so\n" in text


def test_test_images_are_classified_and_published_figures_told(bitfront: Callable, tmp_path: Path) -> None:
    small = ("--recipe", "fq-vit", "--test-images", "60", "--calibration-images", "16")
    outcome = bitfront(*QUICK, *small, "--tested", "--output", "out")
    assert outcome.status == 0, outcome.err
    with (tmp_path / "out" / "bench.csv").open() as file:
        rows = {row["contestant"]: row for row in csv.DictReader(file)}
    assert float(rows["float32"]["test_right"]) > 80.0
    assert float(rows["float32"]["test_right_change"]) == 0.0
    for name in ("bfloat16", "dynamic INT8", "W8A8T8", "W4A8T8"):
        whole, row = float(rows["float32"]["test_right"]), rows[name]
        assert float(row["test_right"]) == pytest.approx(whole + float(row["test_right_change"]))
        assert float(row["test_right"]) > 60.0
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "right, %" in text
    assert "published (VQ-ViT, Neychev, Akopova; ViT-B/16 on CIFAR-10" in text
    assert "98.2 %, 327 MB, 15.3 ms, 1250 MB" in text
    assert "not comparable digit by digit" in text


def test_random_weights_cannot_be_tested(bitfront: Callable) -> None:
    outcome = bitfront("bench", "--model", "test_vit", "--runtimes", "torch", "--tested", "--output", "out")
    assert outcome.status == 2
    assert "--tested needs weights, and these are random" in outcome.error
