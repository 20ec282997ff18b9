"""Costs of encoders and readouts that are not plain: names in tables, operators by hand, real tables."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest
from peculiar_cases import PECULIAR, peculiar_case
from quantized_cases import Case

from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.latency.bench import torch_entries
from bitfront.evaluators.latency.graph_runtime import GraphRuntime
from bitfront.evaluators.latency.measured import measure_table
from bitfront.evaluators.latency.roofline import Operator, Widths, encoder_operators, outer_operators
from bitfront.evaluators.latency.table import TableLatency, encoder_shape, timed_encoders
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRuntime, TimingProtocol
from bitfront.evaluators.latency.torch_runtime import TorchRuntime
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantized.prepared import PreparedModel

QUICK = TimingProtocol(warmup=1, iterations=1, repeats=2, fewest=1)
W, A, T, STREAM = 4, 8, 3, 32
WIDTHS = Widths(W, A, T, STREAM)
SHAPES = {
    "clip": "17x32h2m128+quick_gelu",
    "siglip": "16x32h2m128+gelu_tanh",
    "gate last": "17x32h2m64+attn.q_norm+attn.k_norm+gated",
    "inner norms": "25x32h2m128+attn.norm+mlp.norm+relu",
    "aimv2": "16x32h2m128+norm1.rms+norm2.rms+gated",
    "res-post-norm": "17x32h2m128+postnorm",
    "eva clip": "25x32h2m128+attn.norm+rotary.pairs+silu+gated",
    "dinov3": "27x32h2m128+rotary.halves",
    "narrow heads": "25x32h2m128+head8+rotary.pairs",
    "beit": "17x32h2m128w17",
    "swin padded": "99x16h2m64w16x9",
    "swin v2": "64x16h2m64w16+attn.q_norm.rms+attn.k_norm.rms+postnorm",
}


@functools.cache
def case(name: str) -> Case:
    return peculiar_case(name, 8)


def blueprint(name: str) -> Blueprint:
    return case(name).blueprint


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_tell_kinds_apart(name: str) -> None:
    assert encoder_shape(blueprint(name).encoders[0]) == SHAPES[name]


def test_a_gate_has_twice_the_outputs() -> None:
    encoder = blueprint("gate last").encoders[0]
    tokens, hidden = 2 * encoder.tokens, encoder.hidden
    assert encoder.fc1.weight.shape == (2 * hidden, 32)
    *_, first, second = encoder_operators(encoder, WIDTHS, 2)
    size = 2 * hidden * 32
    assert first == Operator(tokens * (32 + hidden) * A + size * W, tokens * size, (W, A), size * W)
    moved = tokens * (hidden * A + 2 * 32 * STREAM) + size // 2 * W
    assert second == Operator(moved, tokens * size // 2, (W, A), size // 2 * W)


def test_norms_within_move_data() -> None:
    encoder = blueprint("inner norms").encoders[0]
    tokens = encoder.tokens
    matrix = 2 * tokens * tokens * T
    _, qkv, scores, context, behind, proj, _, first, inner, _ = encoder_operators(encoder, WIDTHS, 1)
    assert qkv.bits_moved == tokens * (32 + 96) * A + 96 * 32 * W
    assert scores.bits_moved == 2 * tokens * 32 * A + matrix
    assert context.bits_moved == matrix + tokens * 32 * (A + STREAM)
    assert behind == Operator(tokens * 32 * (STREAM + A))
    assert proj.bits_moved == tokens * 32 * (A + 2 * STREAM) + 32 * 32 * W
    assert first.bits_moved == tokens * (32 * A + 128 * STREAM) + 32 * 128 * W
    assert inner == Operator(tokens * 128 * (STREAM + A))


def test_turned_operands_move_data() -> None:
    encoder = blueprint("dinov3").encoders[0]
    tokens = encoder.tokens
    _, qkv, queries, keys, scores, *_ = encoder_operators(encoder, WIDTHS, 1)
    assert qkv.bits_moved == tokens * (32 * A + 2 * 32 * STREAM + 32 * A) + 96 * 32 * W
    assert queries == keys == Operator(tokens * 32 * (STREAM + A))
    assert scores.macs > 0


def test_norms_behind_branches_take_branch_and_stream() -> None:
    encoder = blueprint("res-post-norm").encoders[0]
    elements = encoder.tokens * 32
    qkv, _, _, proj, first, _, second, last = encoder_operators(encoder, WIDTHS, 1)
    assert qkv.macs == encoder.tokens * 96 * 32
    assert proj.bits_moved == elements * (A + STREAM) + 32 * 32 * W
    assert first == last == Operator(elements * (3 * STREAM + A))
    assert second.bits_moved == encoder.tokens * 128 * A + elements * STREAM + 32 * 128 * W


def test_pooling_counts() -> None:
    found = blueprint("siglip")
    _, norm, kv, scores, context, proj, inner, first, second, head = outer_operators(found, WIDTHS, 2)
    tokens = 2 * 16
    assert norm == Operator(tokens * 32 * (STREAM + A))
    assert kv.macs == tokens * 64 * 32
    assert scores == context
    assert (scores.macs, scores.operands) == (tokens * 32, None)
    assert inner == Operator(2 * 32 * (STREAM + A))
    assert (proj.macs, first.macs, second.macs, head.macs) == (2 * 32 * 32, 2 * 4096, 2 * 4096, 2 * 7 * 32)


def test_mergings_normalise_behind_their_projection() -> None:
    found = blueprint("swin v2")
    [merge] = found.merges.values()
    assert Operator(2 * len(merge.rows) * 32 * STREAM) in outer_operators(found, WIDTHS, 1)


@functools.cache
def subject(name: str) -> Subject:
    prepared = PreparedModel(blueprint(name), case(name).calibration("deploy"), "deploy", (4, 8))
    return Subject(prepared, case(name).module)


def check_table(runtime: TimedRuntime, name: str) -> None:
    found = subject(name)
    table = measure_table(runtime, found, 2, QUICK)
    latency = TableLatency(table, timed_encoders(found.prepared.blueprint), [(8, 8, 8)])
    assert latency.latency_ms(found.widest) > table.rest.milliseconds > 0.0


@pytest.mark.parametrize("name", ["siglip", "eva clip", "swin v2"])
def test_tables_in_torch(name: str) -> None:
    check_table(TorchRuntime(), name)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["siglip", pytest.param("swin v2", marks=pytest.mark.thorough)])
def test_tables_in_runtimes(name: str, runtime: str) -> None:
    pytest.importorskip(runtime)
    check_table(GraphRuntime(runtime_named(runtime)), name)


@pytest.mark.parametrize("name", PECULIAR)
def test_operators_cover_every_product(name: str) -> None:
    found = blueprint(name)
    for encoder in found.encoders:
        macs = [operator.macs for operator in encoder_operators(encoder, WIDTHS, 1) if operator.macs]
        assert len(macs) == 6
        linear = sum(parts.weight.numel() for parts in encoder.linear().values())
        assert sum(macs) > encoder.tokens * linear
    pooling = 0 if found.readout.pool is None else 2
    products = [operator for operator in outer_operators(found, WIDTHS, 1) if operator.macs]
    assert len(products) == len(found.outer()) + pooling


@pytest.mark.parametrize(("name", "floats"), [("clip", 0), ("siglip", 2), ("inner norms", 4)])
def test_packed_files_count_products_in_float_lanes(
    monkeypatch: pytest.MonkeyPatch, name: str, floats: int
) -> None:
    """Those of a learned query, and of attention whose output is normalised."""
    found = blueprint(name)
    encoders = range(len(found.encoders))
    packed = SimpleNamespace(
        assemble=lambda: None,
        blueprint=found,
        layers=[(index, layer) for index in encoders for layer in found.encoders[index].linear()],
        outer=found.outer(),
    )
    monkeypatch.setattr(torch_entries, "read_packed", lambda _: packed)
    monkeypatch.setattr(torch_entries, "vnni_available", lambda: True)
    monkeypatch.setattr(torch_entries, "int8_kernels_are_exact", lambda: True)
    products = torch_entries.PackedEntry(Path("any")).load(1).products()
    assert products.total == len(packed.outer) + 6 * len(encoders) + (2 if name == "siglip" else 0)
    assert products.total - products.on_integers == floats
