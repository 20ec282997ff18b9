"""Sentences of a benchmark: computed from figures, and silent where there are none."""

from __future__ import annotations

import pytest

from bitfront.evaluators.latency.bench.entry import Kind, Label, Products
from bitfront.evaluators.latency.bench.measuring import Measured
from bitfront.search.reports.bench_findings import change, findings, reference_of
from bitfront.spaces import Triple

KINDS: dict[str, Kind] = {"float32": "float32", "bfloat16": "bfloat16", "dynamic INT8": "dynamic"}


def row(
    variant: str,
    milliseconds: float,
    runtime: str = "openvino",
    *,
    rest: str = "f32",
    batch: int = 1,
    model: str = "vit",
    integers: int = 74,
    size: int = 1000,
    repeats: tuple[float, ...] | None = None,
    spread: float = 1.0,
) -> Measured:
    bits: Triple | None = tuple(int(c) for c in variant[1::2]) if variant.startswith("W") else None  # type: ignore[assignment]
    label = Label(
        model,
        variant,
        runtime,
        KINDS.get(variant, "quantized"),
        rest,
        model != "vit",
        bits,  # type: ignore[arg-type]
    )
    return Measured(
        label, batch, milliseconds, milliseconds, 1.0, spread, 5, 10, repeats or (milliseconds,) * 3,
        size, None, Products(74, integers),
    )  # fmt: skip


EAGER = row("float32", 10.0, "torch", integers=0)


def test_a_difference_has_to_be_there_in_every_repeat() -> None:
    slow, fast = row("a", 12.0), row("b", 10.0)
    assert change(slow, fast) == "20.0 % slower"
    assert change(fast, slow) == "16.7 % quicker"
    shared = change(row("a", 10.3, repeats=(9.0, 10.3, 22.0)), row("b", 10.0, repeats=(10.0, 10.0, 20.0)))
    assert shared == "the same within the noise (+3.0 %; single repeats -10.0 to +10.0 %)"
    # Both slowed down in one repeat: that is no noise between them.
    assert change(row("a", 10.3, repeats=(10.3, 20.6, 10.2)), row("b", 10.0, repeats=(10.0, 20.0, 10.0))) == (
        "3.0 % slower"
    )


def test_the_reference_is_the_models_own_float32_in_torch() -> None:
    other = row("float32", 5.0, "torch", model="cnn")
    eight = row("float32", 50.0, "torch", batch=8)
    assert reference_of([other, row("float32", 7.0), EAGER, eight]) == {1: EAGER, 8: eight}


@pytest.mark.parametrize(("milliseconds", "said"), [(2.0, "20.0 % quicker"), (4.0, "60.0 % slower")])
def test_whether_int8_beats_bfloat16_is_computed(milliseconds: float, said: str) -> None:
    rows = [
        EAGER,
        row("bfloat16", 2.5),
        row("bfloat16", 5.0, "torch"),
        row("W8A8T8", milliseconds),
        row("W8A8T8", 9.0, "onnxruntime"),
        row("W8A8T8", 2.5, rest="bf16"),
    ]
    found = findings(rows)
    assert (
        f"batch 1: INT8 with the rest in float32 ({milliseconds:.4g} ms in openvino) against bfloat16 "
        f"(2.5 ms in openvino): {said}"
    ) in found
    assert any("INT8 with the rest in bfloat16 (2.5 ms in openvino)" in line for line in found)


def test_what_narrow_widths_cost_is_told_by_runtime() -> None:
    rows = [
        EAGER,
        row("W8A8T8", 4.0, size=1000),
        row("W4A8T8", 4.4, size=600),
        row("W4A4T4", 6.6, size=600),
        row("W8A8T8", 5.0, "onnxruntime", size=1000),
        row("W4A8T8", 4.0, "onnxruntime", size=640),
        row("W8A4T8", 5.5, "onnxruntime"),
    ]
    found = findings(rows)
    assert (
        "batch 1: W4A8T8 against W8A8T8: in openvino 10.0 % slower, in onnxruntime 20.0 % quicker; files "
        "change by -40 to -36 %"
    ) in found
    assert "batch 1: W4A4T4 against W4A8T8: in openvino 50.0 % slower" in found
    assert "batch 1: W8A4T8 against W8A8T8: in onnxruntime 10.0 % slower" in found
    assert not any("W4A4T4 against W8A8T8" in line for line in found), (
        "two causes at once say nothing of either"
    )


def test_the_quickest_of_each_runtime_is_named_by_batch() -> None:
    rows = [
        EAGER,
        row("W8A8T8", 4.0),
        row("float32", 5.0, "onnxruntime"),
        row("float32", 60.0, "torch", batch=8),
        row("bfloat16", 30.0, batch=8),
    ]
    first, *_, last = (line for line in findings(rows) if "quickest" in line)
    assert first == (
        "batch 1: W8A8T8 in openvino is quickest, 2.50 times as quick as PyTorch eager float32; the best "
        "of each runtime: openvino 4 ms (W8A8T8), onnxruntime 5 ms (float32), torch 10 ms (float32)"
    )
    assert last.startswith("batch 8: bfloat16 in openvino is quickest, 2.00 times as quick")


def test_dynamic_int8_and_baselines_are_compared() -> None:
    rows = [
        EAGER,
        row("dynamic INT8", 12.0, "torch"),
        row("W8A8T8", 4.0),
        row("float32", 8.0, model="cnn"),
        row("INT8", 2.0, model="cnn"),
        row("float32", 6.0, "torch", model="other"),
    ]
    found = findings(rows)
    assert "batch 1: torch's dynamic INT8 against PyTorch eager float32: 20.0 % slower" in found
    assert (
        "batch 1: cnn takes 2 ms at best (INT8 in openvino), 0.50 times as long as the quickest vit; its "
        "INT8 against its float32: in openvino 75.0 % quicker"
    ) in found
    assert (
        "batch 1: other takes 6 ms at best (float32 in torch), 1.50 times as long as the quickest vit"
        in found
    )


def test_products_in_float_are_named() -> None:
    rows = [EAGER, row("W8A8T8", 4.0), row("W8A8T4", 4.0, integers=62), row("W8A8T8", 4.0, "onnxruntime")]
    found = findings(rows)
    assert "openvino computes part of the matrix products in float: W8A8T4 (62 of 74)" in found
    assert "onnxruntime computes every matrix product of every quantized model on integers" in found


def test_a_busy_machine_is_told() -> None:
    assert not any("busy" in line for line in findings([EAGER]))
    found = findings([EAGER, row("W8A8T8", 4.0, spread=31.4)])
    assert any(
        "repeats differ by up to 31 % (W8A8T8 in openvino): the machine was busy" in line for line in found
    )
