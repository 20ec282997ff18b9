"""Candidates of a benchmark: their files, what they compute, what they count, and their memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from evaluator_contracts import BenchEntryContract
from torch import nn

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.runtimes.registry import runtime_is_installed, runtime_named
from bitfront.evaluators.latency.bench import memory
from bitfront.evaluators.latency.bench.baselines import (
    baseline_candidates,
    export_float,
    noise,
    quantize,
    set_apart,
)
from bitfront.evaluators.latency.bench.entry import BenchEntry, Candidate, GraphEntry, Label, Loaded, Products
from bitfront.evaluators.latency.bench.measuring import measure_memory, measure_times
from bitfront.evaluators.latency.bench.memory import Memory, memory_in_fresh_process
from bitfront.evaluators.latency.bench.suite import BenchedModel, NamedConfig, load_benched, make_suite
from bitfront.evaluators.latency.bench.torch_entries import (
    PackedEntry,
    TorchEntry,
    computes_bfloat16,
    converted,
    dispatched_products,
    save_weights,
)
from bitfront.evaluators.latency.timed_runtime import Subject, TimingProtocol
from bitfront.evaluators.models.loading import load_model
from bitfront.spaces import BitfrontError

needs_onnxruntime = pytest.mark.skipif(not runtime_is_installed("onnxruntime"), reason="needs onnxruntime")
SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def benched() -> BenchedModel:
    spec = EvaluationSpec(model="digits_vit", scheme="deploy", widths=(4, 8), batch_size=1, threads=1)
    return load_benched(spec, lambda _: None)


@pytest.fixture(scope="module")
def candidates(benched: BenchedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Candidate]:
    subject = Subject(benched.prepared, benched.module)
    entries = [
        NamedConfig(name, subject.uniform(bits), bits)
        for name, bits in (("W8A8T8", (8, 8, 8)), ("W4A8T8", (4, 8, 8)))
    ]
    runtimes = ["torch", *(["onnxruntime"] if runtime_is_installed("onnxruntime") else [])]
    found = make_suite(benched, entries, runtimes, [], True, tmp_path_factory.mktemp("files"), lambda _: None)
    assert not found.notes
    return {f"{c.label.short} {c.label.runtime}": c for c in found.candidates}


class ConvNet(nn.Module):
    """Two convolutions and a classifier, with batch norms that are exported into them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def test_without_weights_a_model_is_prepared_on_noise(benched: BenchedModel) -> None:
    assert benched.weights == "random"
    assert benched.shape == (1, 20, 20)
    assert "grouped-weights" not in benched.recipe.ingredients
    benched.prepared.fitted(0, "attn.qkv", 4, 8)


def test_every_arithmetic_takes_part(candidates: dict[str, Candidate]) -> None:
    torch_names = {name for name in candidates if name.endswith("torch")}
    assert torch_names == {
        f"{name} torch" for name in ("float32", "dynamic INT8", "bfloat16", "W8A8T8", "W4A8T8")
    }
    if runtime_is_installed("onnxruntime"):
        assert candidates.keys() - torch_names == {
            f"{name} onnxruntime" for name in ("float32", "W8A8T8", "W4A8T8")
        }


def test_torch_float32_takes_part_where_torch_does_not(benched: BenchedModel, tmp_path: Path) -> None:
    found = make_suite(benched, [], [], [], True, tmp_path, lambda _: None)
    assert [(c.label.variant, c.label.runtime) for c in found.candidates] == [("float32", "torch")]


def test_files_are_as_large_as_their_arithmetic(candidates: dict[str, Candidate]) -> None:
    parameters = sum(p.numel() for p in load_model("digits_vit", untrained=True).module.parameters())
    size = {name: candidate.file_bytes for name, candidate in candidates.items()}
    assert size["float32 torch"] == pytest.approx(4 * parameters, rel=0.1)
    assert size["bfloat16 torch"] == pytest.approx(2 * parameters, rel=0.1)
    assert size["W4A8T8 torch"] < size["W8A8T8 torch"] < size["dynamic INT8 torch"] < size["bfloat16 torch"]


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("float32 torch", Products(38, 0)),
        ("bfloat16 torch", Products(38, 0)),
        ("dynamic INT8 torch", Products(38, 25)),
        pytest.param("float32 onnxruntime", Products(38, 0), marks=needs_onnxruntime),
    ],
)
def test_products_are_counted_as_executed(
    candidates: dict[str, Candidate], name: str, products: Products
) -> None:
    """6 encoders of 4 layers and 2 products of attention, patches (a convolution in torch) and a head."""
    assert candidates[name].entry.load(1).products() == products


def test_packed_files_run_and_count_everything(candidates: dict[str, Candidate]) -> None:
    loaded = candidates["W4A8T8 torch"].entry.load(3)
    logits = loaded.run()
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (3, 10)
    assert loaded.products().total == 38


def test_torch_files_run_what_was_saved(tmp_path: Path) -> None:
    module = load_model("digits_deit").module
    path = tmp_path / "m.safetensors"
    save_weights(module, path)
    images = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = module(images)
    found = TorchEntry(path, "digits_deit", "float32", SHAPE).load(2).run()
    assert torch.equal(found, expected)
    dynamic = TorchEntry(path, "digits_deit", "dynamic", SHAPE).load(2).run()
    assert 0 < (dynamic - expected).abs().max() < 0.2 * expected.abs().max()
    half = TorchEntry(path, "digits_deit", "bfloat16", SHAPE).load(2).run()
    assert half.dtype == torch.bfloat16


def test_products_of_convolutions_and_plain_matrices() -> None:
    module, images = ConvNet().eval(), torch.zeros(1, *SHAPE)

    def run() -> None:
        with torch.inference_mode():
            module(images) @ torch.zeros(10, 2)

    assert dispatched_products(run) == Products(4, 0)
    dynamic = converted(module, "dynamic")

    def run_dynamic() -> None:
        with torch.inference_mode():
            dynamic(images)

    assert dispatched_products(run_dynamic) == Products(3, 1)


@needs_onnxruntime
def test_quantized_baselines_run_on_integers(tmp_path: Path) -> None:
    """Biases of zeros, as a fresh model has them, would be written once and left in float."""
    torch.manual_seed(0)
    module = ConvNet().eval()
    set_apart(module)
    tensors = [t.flatten() for t in module.state_dict().values() if t.is_floating_point()]
    assert not any(torch.equal(a, b) for i, a in enumerate(tensors) for b in tensors[:i])
    whole, quantized = tmp_path / "f.onnx", tmp_path / "q.onnx"
    export_float(module, SHAPE, whole)
    quantize(whole, quantized, noise(SHAPE))
    assert quantized.stat().st_size < whole.stat().st_size
    onnx.checker.check_model(onnx.load(quantized))
    images = np.random.default_rng(1).standard_normal((5, *SHAPE), dtype=np.float32)
    runtime = runtime_named("onnxruntime")
    expected, report = runtime.load(whole)(images), runtime.load(quantized).kernels()
    assert (report.on_integers, report.total) == (3, 3)
    with torch.inference_mode():
        np.testing.assert_allclose(expected, module(torch.from_numpy(images)).numpy(), atol=1e-4)
    error = np.abs(runtime.load(quantized)(images) - expected).max()
    assert error < 0.2 * np.abs(expected).max()


def test_quantizing_leaves_the_log_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    handlers = list(logging.getLogger().handlers)
    with pytest.raises(BitfrontError, match=r"cannot quantize it|not installed"):
        quantize(tmp_path / "missing.onnx", tmp_path / "q.onnx", noise(SHAPE))
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == 0


def test_what_torch_cannot_export_is_told(tmp_path: Path) -> None:
    class Strange(nn.Module):
        def forward(self, x: torch.Tensor) -> str:
            return "logits"

    with pytest.raises(BitfrontError, match="torch cannot export it to ONNX"):
        export_float(Strange(), SHAPE, tmp_path / "f.onnx")


def test_a_baseline_that_takes_no_such_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitfrontError, match="takes no images of 3x7x7"):
        baseline_candidates("vit_tiny_patch16_224", (3, 7, 7), ["torch"], tmp_path, [])


def test_a_line_up_goes_on_without_such_a_baseline(benched: BenchedModel, tmp_path: Path) -> None:
    found = make_suite(
        benched, [], ["torch"], ["vit_tiny_patch16_224", "resnet10t"], False, tmp_path, lambda _: None
    )
    assert [c.label.short for c in found.candidates if c.label.baseline] == ["resnet10t float32"]
    (note,) = found.notes
    assert note.startswith("baseline vit_tiny_patch16_224 is left out: it takes no images of 1x20x20")
    baseline = found.candidates[-1].entry.load(2)
    assert baseline.run().shape == (2, 1000)
    assert baseline.products().on_integers == 0


def test_memory_is_that_of_a_fresh_process(candidates: dict[str, Candidate]) -> None:
    held = torch.ones(1 << 28, dtype=torch.uint8)  # which a forked process would seem to hold too
    found = memory_in_fresh_process(candidates["W8A8T8 torch"].entry, 2)
    assert 50e6 < found.imports_bytes <= found.peak_bytes
    assert memory.peak_resident_bytes() > held.nbytes
    if runtime_is_installed("onnxruntime"):
        graph = memory_in_fresh_process(candidates["W8A8T8 onnxruntime"].entry, 2)
        assert 10e6 < graph.imports_bytes < graph.peak_bytes < 200e6 < found.peak_bytes, "it has no torch"


def test_requests_come_back_as_entrants(tmp_path: Path) -> None:
    import json

    for entry in (
        GraphEntry(tmp_path / "a.onnx", "openvino", "bf16", (3, 8, 8)),
        TorchEntry(tmp_path / "a.safetensors", "resnet18", "bfloat16", (3, 8, 8), True),
        PackedEntry(tmp_path / "b.safetensors"),
    ):
        assert memory._entry(json.loads(memory._request(entry, 4))) == entry


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(BitfrontError, match=r"its memory could not be measured .*no such file"):
        memory_in_fresh_process(PackedEntry(tmp_path / "missing.safetensors"), 1)


class Sleeper:
    """An entry that runs nothing."""

    def __init__(self, path: Path, fails: bool = False) -> None:
        self.path = path
        self.fails = fails

    def import_libraries(self) -> None:
        pass

    def load(self, batch: int) -> Loaded:
        if self.fails:
            raise BitfrontError("it is broken")
        return Loaded(lambda: None, lambda: Products(7, 3))


def sleeper(name: str, fails: bool = False) -> Candidate:
    return Candidate(Label("m", name, "nowhere", "quantized"), Sleeper(Path(name), fails), 123)


def test_figures_come_together_by_candidate(caplog: pytest.LogCaptureFixture) -> None:
    first, second, broken = sleeper("first"), sleeper("second"), sleeper("broken", fails=True)
    known = {second.label: Memory(1, 2)}
    protocol = TimingProtocol(warmup=3, iterations=7, repeats=3)
    rows = measure_times([first, broken, second], 4, known, protocol, lambda _: None, lambda: False)
    assert [row.label.variant for row in rows] == ["first", "second"]
    assert [row.memory for row in rows] == [None, Memory(1, 2)]
    assert "broken in nowhere is left out: it is broken" in caplog.text
    for row in rows:
        assert (row.batch, row.warmup, row.iterations, len(row.medians_ms)) == (4, 3, 7, 3)
        assert (row.file_bytes, row.products) == (123, Products(7, 3))
        assert row.p50_ms <= row.p90_ms
        assert min(row.medians_ms) <= row.p50_ms <= max(row.medians_ms)
    assert measure_times([first], 1, {}, protocol, lambda _: None, lambda: True) == []


def test_memory_that_cannot_be_measured_is_left_out(
    candidates: dict[str, Candidate], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    lost = Candidate(Label("m", "lost", "torch", "quantized"), PackedEntry(tmp_path / "x.safetensors"), 1)
    shares: list[float] = []
    assert measure_memory([lost], 1, shares.append, lambda: False) == {}
    assert shares == [1.0]
    assert "lost in torch: its memory could not be measured" in caplog.text
    assert measure_memory([candidates["float32 torch"]], 1, shares.append, lambda: True) == {}


def test_bfloat16_is_read_from_the_processors_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitfront.evaluators.context import machine

    for flags, expected in (
        ("avx2 amx_bf16", True),
        ("avx512_bf16", True),
        ("avx2 avx512f", False),
        ("", False),
    ):
        monkeypatch.setattr(machine, "cpuinfo", lambda key, flags=flags: flags if key == "flags" else "")
        assert computes_bfloat16() is expected
    monkeypatch.setattr(machine, "cpuinfo", lambda key: "asimd bf16" if key == "Features" else "")
    assert computes_bfloat16()


class TestContract(BenchEntryContract):
    @pytest.fixture
    def entry(self, candidates: dict[str, Candidate], kind: type) -> BenchEntry:
        found = next((c.entry for c in candidates.values() if isinstance(c.entry, kind)), None)
        if found is None:
            pytest.skip("needs onnxruntime")
        return found

    @pytest.fixture(params=[TorchEntry, PackedEntry, GraphEntry])
    def kind(self, request: pytest.FixtureRequest) -> type:
        return request.param
