"""The programs of a GPU against torch operations: skipped, with the reason, where there is none.

With ``TRITON_INTERPRET=1`` they are interpreted on a CPU, where Triton is installed.
"""

from __future__ import annotations

import os

import pytest
import torch
from attention_cases import BITS, LOG_STEPS, SHAPES, codes_for, terms_of
from evaluator_contracts import KernelsContract

from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms, IntegerScores
from bitfront.evaluators.quantized.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.quantized.kernels.compiled import triton_installed
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not triton_installed(), reason="Triton is not installed"),
    pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]
HERE = torch.device("cpu")


@pytest.fixture
def kernels() -> Kernels:
    from bitfront.evaluators.quantized.kernels.cuda import CudaKernels

    return CudaKernels(DEVICE)


def draw(*shape: int, low: int = 0, high: int = 256, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(low, high, shape, generator=generator, dtype=dtype)


def moved(terms, device: torch.device):
    """Terms whose tensors are on a device."""
    found = {
        name: moved(value, device)
        if isinstance(value, IntegerScores)
        else value.to(device)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in vars(terms).items()
    }
    return type(terms)(**found)


def layers(kernels: Kernels, out: int, inner: int):
    """The same layer by the programs, and by torch operations on the CPU."""
    codes, scales = draw(out, inner, low=-128, high=128, dtype=torch.int8), torch.rand(out) * 1e-3 + 1e-4
    bias = torch.randn(out)
    programs = kernels.linear(QuantizedWeight(codes.to(DEVICE), scales.to(DEVICE), 8), bias.to(DEVICE))
    return programs, PortableKernels(HERE).linear(QuantizedWeight(codes, scales, 8), bias)


@pytest.mark.parametrize(
    ("rows", "out", "inner"), [(1, 10, 768), (3, 33, 100), (16, 3, 5), (197, 576, 192), (1000, 2304, 768)]
)
def test_linear_layers_agree(kernels: Kernels, rows: int, out: int, inner: int) -> None:
    if INTERPRETED and rows * out > 1 << 16:
        pytest.skip("takes minutes to interpret")
    programs, torch_operations = layers(kernels, out, inner)
    x, grid = draw(rows, inner), AffineGrid(0.02, 113, 255)
    x[0] = 255
    floats = torch_operations.to_float(x, grid)
    assert torch.equal(programs.to_float(x.to(DEVICE), grid).cpu(), floats)
    step = float(floats.abs().mean()) / 40
    table = draw(256)
    for qmax, codebook in ((255, None), (15, None), (255, table)):
        for gelu in (False, True):
            target = AffineGrid(step, qmax // 2, qmax)
            wanted = torch_operations.to_codes(x, grid, target, gelu=gelu)
            found = programs.to_codes(x.to(DEVICE), grid, target, gelu=gelu).cpu()
            difference = (found.int() - wanted.int()).abs()
            assert int(difference.max()) <= 1
            assert float(difference.double().mean()) < 1e-3
            if codebook is not None:
                given = programs.to_codes(x.to(DEVICE), grid, target, gelu=gelu, codebook=codebook.to(DEVICE))
                assert torch.equal(given.cpu(), codebook[found.long()])


def test_a_layer_takes_codes_of_several_grids(kernels: Kernels) -> None:
    programs, torch_operations = layers(kernels, 40, 64)
    for grid in (AffineGrid(0.02, 0, 255), AffineGrid(0.02, 255, 255), AffineGrid(0.5, 7, 15)):
        x = draw(50, 64, high=grid.qmax + 1)
        assert torch.equal(programs.to_float(x.to(DEVICE), grid).cpu(), torch_operations.to_float(x, grid))


def integer_norm_terms(channels: int) -> IntegerNormTerms:
    gain = torch.randn(channels, dtype=torch.float64) * 20
    gain[0] = 0.0
    mantissa, exponent = torch.frexp(gain.abs())
    shift = torch.ones(channels, dtype=torch.int32) << draw(channels, high=4, dtype=torch.int32)
    bias = torch.randn(channels, dtype=torch.float64) * 30
    return IntegerNormTerms(
        130, shift, 1e-3, gain, mantissa, torch.exp2(exponent.double() - 8), bias, 120, 255
    )


@pytest.mark.parametrize("channels", [48, 192, 768, 3072])
def test_integer_rows_are_equal(kernels: Kernels, channels: int) -> None:
    torch.manual_seed(channels)
    norm = integer_norm_terms(channels)
    factors = torch.rand(channels, dtype=torch.float64), torch.rand(channels, dtype=torch.float64) * 2
    total = SumTerms(100, factors[0], 130, factors[1], 130, 255)
    x, y = draw(24, channels), draw(8, channels)
    x[0], x[1], x[2, ::2] = 0, 255, 130
    there, other = PortableKernels(HERE), y.repeat(3, 1)
    on = [tensor.to(DEVICE) for tensor in (x, y, other)]
    norm_there, total_there = moved(norm, DEVICE), moved(total, DEVICE)
    assert torch.equal(kernels.integer_norm(on[0], norm_there).cpu(), there.integer_norm(x, norm))
    assert torch.equal(kernels.integer_add(on[0], on[1], total_there).cpu(), there.integer_add(x, y, total))
    found = kernels.integer_add_norm(on[0], on[2], total_there, norm_there)
    wanted = there.integer_add_norm(x, other, total, norm)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("channels", [48, 192, 768, 3072])
def test_float_rows_agree_but_for_ties(kernels: Kernels, channels: int) -> None:
    torch.manual_seed(channels)
    terms = FloatNormTerms(torch.randn(channels), torch.randn(channels), 1e-6, 0.02, 128, 255)
    x, y = torch.randn(50, channels) * 3 + 1, torch.randn(50, channels)
    there, terms_there = PortableKernels(HERE), moved(terms, DEVICE)
    total, codes = kernels.float_add_norm(x.to(DEVICE), y.to(DEVICE), terms_there)
    assert torch.equal(total.cpu(), x + y)
    for found, wanted in (
        (codes, there.float_norm(x + y, terms)),
        (kernels.float_norm(x.to(DEVICE), terms_there), there.float_norm(x, terms)),
    ):
        difference = (found.cpu().int() - wanted.int()).abs()
        assert int(difference.max()) <= 1
        assert float(difference.double().mean()) < 1e-3


def attention_of(kernels: Kernels, terms: AttentionTerms, qkv: torch.Tensor, batch: int):
    """Output codes by the programs, and by torch operations on the CPU."""
    found = kernels.attention(qkv.to(DEVICE), batch, moved(terms, DEVICE)).cpu()
    return found, PortableKernels(HERE).attention(qkv, batch, terms)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", list(SHAPES))
def test_attention_with_the_integer_softmax_is_equal(kernels: Kernels, shape: str, bits: int) -> None:
    for log_step in LOG_STEPS if bits <= 4 else (1.0,):
        terms = terms_of(shape, bits, True, log_step=log_step)
        qkv = codes_for(terms, 3)
        assert torch.equal(*attention_of(kernels, terms, qkv, 3))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", list(SHAPES))
def test_attention_with_the_float_softmax_agrees_but_for_ties(
    kernels: Kernels, shape: str, bits: int
) -> None:
    for log_step in LOG_STEPS if bits <= 4 else (1.0,):
        terms = terms_of(shape, bits, False, log_step=log_step)
        found, wanted = attention_of(kernels, terms, codes_for(terms, 3), 3)
        assert float((found != wanted).double().mean()) < 2e-3


@pytest.mark.parametrize("zero", [0, 255])
@pytest.mark.parametrize("bits", [4, 8])
def test_attention_of_extreme_codes_is_equal(kernels: Kernels, zero: int, bits: int) -> None:
    """Sums as large as they become: every query and value at the end of the grid that is far from zero."""
    for shape in ("deit", "swin", "odd"):
        for log_step in (1.0, 0.5) if bits == 4 else (1.0,):
            terms = terms_of(shape, bits, True, zero=zero, log_step=log_step, scale=0.01)
            qkv = codes_for(terms, 1)
            qkv[1::3] = 255 - zero
            assert torch.equal(*attention_of(kernels, terms, qkv, 1))
            qkv[:] = 255 - zero
            assert torch.equal(*attention_of(kernels, terms, qkv, 1))


def test_codebooks_are_looked_up() -> None:
    from bitfront.evaluators.quantized.kernels.triton_programs import replaced_codes

    codes, table = draw(33, 301), draw(256)
    assert torch.equal(replaced_codes(codes.to(DEVICE), table.to(DEVICE)).cpu(), table[codes.long()])


@pytest.mark.skipif(INTERPRETED, reason="needs a GPU")
def test_a_gpu_has_the_programs() -> None:
    found = kernels_for(DEVICE)
    assert "Triton" in found.description
    assert not found.notes


@pytest.mark.skipif(INTERPRETED, reason="needs a GPU")
class TestContract(KernelsContract):
    @pytest.fixture
    def kernels(self) -> Kernels:
        return kernels_for(DEVICE)
