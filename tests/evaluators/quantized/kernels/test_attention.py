"""Attention kernels: exact byte products, and the fused and portable kernels against a plain reference."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from attention_cases import BITS, LOG_STEPS, SHAPES, codes_for, minifloat_terms, terms_of
from quantized_stages import put

from bitfront.evaluators.quantized.kernels import portable as portable_module
from bitfront.evaluators.quantized.kernels import vnni
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.compiled import compiled
from bitfront.evaluators.quantized.kernels.float_rows import exponentials, scale_scores
from bitfront.evaluators.quantized.kernels.fused_attention import fused_attention
from bitfront.evaluators.quantized.kernels.lanes import LINE
from bitfront.evaluators.quantized.kernels.portable import portable_attention
from bitfront.evaluators.quantized.kernels.vnni import byte_product, multiply, vnni_available

needs_vnni = pytest.mark.skipif(not vnni_available(), reason="this CPU has no AVX512-VNNI with VBMI")


def probabilities(
    scores: np.ndarray, seen: np.ndarray, terms: AttentionTerms
) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of a softmax over the last axis."""
    if terms.softmax is None:
        numerators = np.where(
            seen, np.exp(scores - np.where(seen, scores, -np.inf).max(-1, keepdims=True)), 0
        )
    else:
        codes = np.clip(np.rint(scores) + terms.softmax.zero_point, 0, terms.softmax.qmax).astype(np.int64)
        highest = np.where(seen, codes, 0).max(-1, keepdims=True)
        numerators = np.where(seen, terms.softmax.table.numpy()[np.where(seen, highest - codes, 0)], 0)
    return numerators, numerators.sum(-1, keepdims=True)


def reference(qkv: torch.Tensor, batch: int, terms: AttentionTerms) -> np.ndarray:
    """The definition in int64 and float64, one image, window and head at a time."""
    tokens = len(qkv) // batch
    parts = (
        qkv.numpy().astype(np.int64).reshape(batch, tokens, 3, terms.heads, terms.head_dim) - terms.qkv_zero
    )
    out = np.zeros((batch, tokens, terms.heads, terms.head_dim))
    for image in range(batch):
        for window, rows in enumerate(terms.rows.numpy()):
            for head in range(terms.heads):
                q, k, v = parts[image, rows, :, head].transpose(1, 0, 2)
                scores = (q @ k.T) * terms.factors[head].item()
                scores = scores if terms.bias is None else scores + terms.bias[head].numpy()
                seen = np.ones(scores.shape, bool) if terms.mask is None else ~terms.mask[window].numpy()
                numerators, total = probabilities(scores, seen, terms)
                if terms.minifloats is not None:
                    shares = torch.from_numpy(numerators / total)
                    attention = put(shares, terms.minifloats).numpy() / 128
                elif terms.logarithmic:
                    with np.errstate(divide="ignore"):
                        codes = np.ceil(np.log2(total / numerators) / terms.log_step - 0.5)
                    attention = np.rint(2.0 ** (15 - codes * terms.log_step)) / 2**15
                    attention = np.where(codes < terms.attention_codes, attention, 0)
                else:
                    attention = np.rint(numerators / (total * terms.attention_scale))
                    attention = np.minimum(attention, terms.attention_codes - 1)
                context = np.rint((attention @ v) * terms.out_factor) + terms.out_zero
                out[image, rows, head] = np.clip(context, 0, terms.out_qmax)
    return out.reshape(batch * tokens, -1)


@needs_vnni
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (7, 4, 32), (50, 197, 64), (13, 258, 49), (8, 64, 197)])
def test_byte_products_are_exact(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(m + k + n)
    a = rng.integers(0, 256, (m, k), np.uint8)
    b = rng.integers(-128, 128, (k, n), np.int8)
    for left, right in ((a, b), (np.full_like(a, 255), np.full_like(b, -128)), (a, np.full_like(b, 127))):
        assert (byte_product(left, right) == left.astype(np.int64) @ right.astype(np.int64)).all()


@needs_vnni
def test_what_other_threads_allocate_meanwhile_does_not_change_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Products that seem wrong once have the process take kernels that round ties the other way."""
    taken: list[np.ndarray] = []

    def delayed(*arguments: int) -> None:
        taken.extend(np.full(size, 1, np.uint8) for size in range(LINE, 1024))
        multiply(*arguments)

    monkeypatch.setattr(vnni, "multiply", delayed)
    for _ in range(3):
        assert vnni.vnni_available.__wrapped__()
    assert taken


@needs_vnni
@pytest.mark.parametrize("zero", [0, 128, 255])
@pytest.mark.parametrize("extreme", [0, 255])
def test_extreme_codes_and_zero_points_are_exact(zero: int, extreme: int) -> None:
    terms = terms_of("swin", 8, True, zero=zero)
    qkv = codes_for(terms, 1)
    qkv[::3] = extreme
    assert (fused_attention(qkv, 1, terms).numpy() == reference(qkv, 1, terms)).all()


@needs_vnni
def test_accumulators_of_both_products_are_exact() -> None:
    """One-hot attention returns the values, and the scores decide which one."""
    n, head_dim = 40, 7
    rng = np.random.default_rng(3)
    qkv = rng.integers(0, 256, (n, 3 * head_dim), np.uint8)
    q, k, v = (qkv[:, head_dim * i : head_dim * (i + 1)].astype(np.int64) - 131 for i in range(3))
    terms = replace(
        terms_of("single", 8, False, zero=131),
        head_dim=head_dim,
        rows=torch.arange(n, dtype=torch.int32)[None],
        factors=torch.tensor([50.0], dtype=torch.float64),
        attention_scale=1.0,
        out_factor=1.0,
        out_zero=0,
    )
    scores = q @ k.T
    assert (np.sort(scores, -1)[:, -1] > np.sort(scores, -1)[:, -2]).all()
    expected = np.clip(v[scores.argmax(-1)], 0, 255)
    assert (fused_attention(torch.from_numpy(qkv), 1, terms).numpy() == expected).all()


@needs_vnni
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", list(SHAPES))
def test_integer_softmax_agrees_everywhere(shape: str, bits: int) -> None:
    terms = terms_of(shape, bits, True)
    qkv = codes_for(terms, 2)
    fused = fused_attention(qkv, 2, terms)
    assert torch.equal(fused, portable_attention(qkv, 2, terms))
    assert (fused.numpy() == reference(qkv, 2, terms)).all()
    assert shape == "single" or len(fused.unique()) > 8


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", ["swin", "odd"])
def test_portable_integer_softmax_is_the_reference(shape: str, bits: int) -> None:
    terms = terms_of(shape, bits, True)
    qkv = codes_for(terms, 2, seed=1)
    assert (portable_attention(qkv, 2, terms).numpy() == reference(qkv, 2, terms)).all()


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("log_step", LOG_STEPS)
@pytest.mark.parametrize("shape", ["deit", "swin", "odd"])
def test_any_base_with_the_integer_softmax(shape: str, log_step: float, bits: int) -> None:
    terms = terms_of(shape, bits, True, log_step=log_step)
    qkv = codes_for(terms, 2, seed=2)
    expected = reference(qkv, 2, terms)
    assert (portable_attention(qkv, 2, terms).numpy() == expected).all()
    if vnni_available():
        assert (fused_attention(qkv, 2, terms).numpy() == expected).all()
    assert len(np.unique(expected)) > 8


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("shape", ["deit", "swin", "odd"])
def test_minifloats(shape: str, integer: bool, bits: int) -> None:
    terms = minifloat_terms(shape, bits, integer, {2: 0.13, 3: 0.04, 4: 0.0037}[bits])
    qkv = codes_for(terms, 2, seed=2)
    expected = reference(qkv, 2, terms)
    for kernel in [portable_attention, fused_attention] if vnni_available() else [portable_attention]:
        difference = np.abs(kernel(qkv, 2, terms).numpy() - expected)
        assert difference.max() <= (0 if integer else 1)
        assert (difference > 0).sum() <= (0 if integer else 1 + 1e-4 * difference.size)
    assert len(np.unique(expected)) > 8


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("log_step", LOG_STEPS)
@pytest.mark.parametrize("shape", ["deit", "swin", "odd"])
def test_any_base_with_the_float_softmax(shape: str, log_step: float, bits: int) -> None:
    terms = terms_of(shape, bits, False, log_step=log_step)
    qkv = codes_for(terms, 2, seed=2)
    expected = reference(qkv, 2, terms)
    kernels = [portable_attention, fused_attention] if vnni_available() else [portable_attention]
    for kernel in kernels:
        difference = np.abs(kernel(qkv, 2, terms).numpy() - expected)
        assert difference.max() <= 1
        assert (difference > 0).sum() <= 1 + 1e-4 * difference.size
    assert len(np.unique(expected)) > 8


@pytest.mark.parametrize("integer", [True, False])
def test_ties_between_codes_take_the_smaller_one(integer: bool) -> None:
    """Equal scores of two keys are half each: between the codes 0 and 1 of base 4."""
    terms = replace(
        terms_of("single", 4, integer, zero=0, log_step=2.0),
        rows=torch.arange(2, dtype=torch.int32)[None],
        out_factor=1.0,
        out_zero=0,
    )
    qkv = torch.tensor([[3, 5, 20], [3, 5, 60]], dtype=torch.uint8)
    assert portable_attention(qkv, 1, terms).tolist() == [[80], [80]]
    if vnni_available():
        assert fused_attention(qkv, 1, terms).tolist() == [[80], [80]]


def test_sums_beyond_float32_are_exact() -> None:
    """Three shares of 0.32, which a large base rounds up to 1, and one more make an odd sum above 2^24."""
    terms = replace(
        terms_of("single", 4, True, zero=0, log_step=3.9),
        rows=torch.arange(4, dtype=torch.int32)[None],
        factors=torch.ones(1, dtype=torch.float64),
        # The sum is just above a tie that the next smaller integer is just below.
        out_factor=100.5 * 2**15 / ((3 * 2**15 + 2195) * 255 - 0.5),
        out_zero=0,
    )
    qkv = torch.tensor([[1, 40, 255], [1, 40, 255], [1, 40, 255], [1, 10, 255]], dtype=torch.uint8)
    assert reference(qkv, 1, terms).tolist() == [[101]] * 4
    assert portable_attention(qkv, 1, terms).tolist() == [[101]] * 4
    if vnni_available():
        assert fused_attention(qkv, 1, terms).tolist() == [[101]] * 4


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", list(SHAPES))
def test_float_softmax_differs_by_ties_alone(shape: str, bits: int) -> None:
    terms = terms_of(shape, bits, False)
    qkv = codes_for(terms, 2)
    expected = reference(qkv, 2, terms)
    kernels = [portable_attention, fused_attention] if vnni_available() else [portable_attention]
    for kernel in kernels:
        difference = np.abs(kernel(qkv, 2, terms).numpy() - expected)
        assert difference.max() <= 1
        assert (difference > 0).sum() <= 1 + 1e-4 * difference.size
    assert shape == "single" or len(np.unique(expected)) > 8


@needs_vnni
def test_narrow_grids_and_small_scales() -> None:
    """Clipped outputs of few codes, clipped attention, and score steps that overflow int32."""
    terms = terms_of("swin", 8, True, scale=0.05)
    for change in (
        {"out_qmax": 15, "out_zero": 6},
        {"factors": torch.full((2,), 1e6).double()},
        {"attention_codes": 32},
    ):
        changed = replace(terms, **change)
        qkv = codes_for(changed, 1)
        assert (fused_attention(qkv, 1, changed).numpy() == reference(qkv, 1, changed)).all()


def test_portable_batches_are_cut_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = terms_of("swin", 8, True)
    qkv = codes_for(terms, 5)
    whole = portable_attention(qkv, 5, terms)
    monkeypatch.setattr(portable_module, "CPU_ELEMENTS", 2 * 2 * 4 * 49 * 49)
    assert torch.equal(portable_attention(qkv, 5, terms), whole)


@pytest.mark.parametrize("integer", [True, False])
def test_tap_sees_scores_and_attention(integer: bool) -> None:
    terms = terms_of("swin", 4, integer)
    seen: dict[str, torch.Tensor] = {}
    portable_attention(codes_for(terms, 2), 2, terms, seen.__setitem__)
    assert set(seen) == {"attn.scores", "attn.softmax"}
    assert {tuple(tensor.shape) for tensor in seen.values()} == {(2 * 4, 2, 49, 49)}
    assert terms.mask is not None
    assert (
        seen["attn.softmax"].view(2, 4, 2, 49, 49)[:, terms.mask[:, None].expand(4, 2, 49, 49)] == 0
    ).all()
    assert (seen["attn.softmax"].sum(-1) > 0.5).all()
    assert (seen["attn.softmax"].sum(-1) < 1.5).all()


@needs_vnni
def test_exponential_is_within_two_units_in_the_last_place() -> None:
    count = 1 << 16

    @compiled
    def run(products: int, vectors: int, factor: float, keep: int, out: int) -> float:
        highest = scale_scores(products, vectors, np.float32(factor), 0, keep, out)
        return exponentials(out, vectors, highest)

    products, keep = -np.arange(count, dtype=np.int32), np.full(count, 255, np.uint8)
    out, factor = np.zeros(count, np.float32), np.float32(80.0 / count)
    total = run(products.ctypes.data, count // 16, factor, keep.ctypes.data, out.ctypes.data)
    expected = np.exp((products.astype(np.float32) * factor).astype(np.float64))
    assert (np.abs(out - expected) <= 2 * np.spacing(expected.astype(np.float32))).all()
    assert total == pytest.approx(expected.sum(), rel=1e-5)


def test_nothing_is_compiled_without_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("compiled for a CPU that cannot run it")

    monkeypatch.setattr(vnni, "byte_product", refuse)
    monkeypatch.setattr(vnni, "FEATURES", ("a-feature-of-the-future",))
    assert not vnni.vnni_available.__wrapped__()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    monkeypatch.setattr(vnni, "FEATURES", ())
    assert not vnni.vnni_available.__wrapped__()
