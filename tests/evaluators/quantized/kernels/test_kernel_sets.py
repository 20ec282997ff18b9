"""The kernel sets against one another: int8 and float lanes on CPUs, torch operations for GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from evaluator_contracts import KernelsContract

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantized.kernels import cpu
from bitfront.evaluators.quantized.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.quantized.kernels.cpu import CpuKernels
from bitfront.evaluators.quantized.kernels.linear import FloatLaneLinear, IntMmLinear, int8_kernels_are_exact
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import SCHEMES, BitConfig

WIDTHS = (4, 8)
BITS = [(8, 8, 8), (8, 8, 4), (4, 8, 8), (4, 4, 4)]
Uniform = Callable[..., BitConfig]


@pytest.fixture
def plain_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[CpuKernels]:
    """The kernels of a CPU without VNNI or AMX."""
    monkeypatch.setattr(cpu, "int8_kernels_are_exact", lambda: False)
    monkeypatch.setattr(cpu, "vnni_available", lambda: False)
    return CpuKernels()


@pytest.fixture
def torch_operations() -> PortableKernels:
    """What runs on a GPU, on the CPU."""
    return PortableKernels(torch.device("cpu"))


@pytest.fixture(scope="module", params=["vit", "swin"])
def subject(request: pytest.FixtureRequest, blueprint: Blueprint) -> Blueprint:
    return (
        blueprint
        if request.param == "vit"
        else blueprint_of("swin", request.getfixturevalue("small_swin")(3))
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kernels", ["plain_cpu", "torch_operations"])
def test_other_kernels_agree_with_the_quickest(
    request: pytest.FixtureRequest, subject: Blueprint, uniform: Uniform, kernels: str, scheme: str
) -> None:
    images = torch.randn(5, *subject.image_shape, generator=torch.Generator().manual_seed(1))
    calibration = calibrate(subject, lambda: [images], WIDTHS, observer_named("auto"), scheme)
    other: Kernels = request.getfixturevalue(kernels)
    quickest = PreparedModel(subject, calibration, scheme, WIDTHS)
    slower = PreparedModel(subject, calibration, scheme, WIDTHS, kernels=other)
    kind = FloatLaneLinear if kernels == "plain_cpu" else IntMmLinear
    for bits in BITS:
        config = uniform(subject, bits, scheme)
        first, second = quickest.assemble(config), slower.assemble(config)
        assert type(second.encoders[0].linear["attn.qkv"]) is kind
        _agree_stage_by_stage(first, second, images)


def _agree_stage_by_stage(first, second, images: torch.Tensor) -> None:
    batch = len(images)
    x = first.embedding(images)
    _equal_but_for_ties(x, second.embedding(images))
    for index, (encoder, other) in enumerate(zip(first.encoders, second.encoders, strict=True)):
        if index in first.merges:
            merged = first.merges[index](x, batch)
            _equal_but_for_ties(merged, second.merges[index](x, batch))
            x = merged
        normed = encoder.norm1(x)
        _equal_but_for_ties(normed, other.norm1(x))
        after, _ = encoder(x, normed, batch, None)
        _equal_but_for_ties(after, other(x, normed, batch, None)[0])
        x = after
    _equal_but_for_ties(first.readout(x, batch), second.readout(x, batch))


def _equal_but_for_ties(x: torch.Tensor, y: torch.Tensor) -> None:
    """Codes differ by at most 2 in few places, where a tie within fell the other way; floats by rounding."""
    if x.dtype == torch.uint8:
        difference = (x.int() - y.int()).abs()
        assert int(difference.max()) <= 2
        assert float((difference > 0).double().mean()) < 0.005
        return
    typical = float(x.abs().double().mean())
    assert float((x - y).abs().double().mean()) < 1e-3 * typical


@pytest.mark.parametrize("shape", [(3, 5), (16, 64), (17, 100), (40, 513), (8, 1100)])
def test_linear_kernels_agree_exactly_in_integers(shape: tuple[int, int]) -> None:
    out, inner = shape
    generator = torch.Generator().manual_seed(inner)
    weight = QuantizedWeight(
        torch.randint(-128, 128, (out, inner), generator=generator, dtype=torch.int8), torch.ones(out), 8
    )
    codes = torch.randint(0, 256, (7, inner), generator=generator, dtype=torch.uint8)
    grid, bias = AffineGrid(1.0, 113, 255), torch.zeros(out)
    exact = ((codes.long() - 113) @ weight.codes.long().T).float()
    for kernel in (FloatLaneLinear, IntMmLinear):
        assert torch.equal(kernel(weight, bias).to_float(codes, grid), exact)
    assert torch.equal(kernels_for(torch.device("cpu")).linear(weight, bias).to_float(codes, grid), exact)


def test_a_cpu_says_what_it_lacks(plain_cpu: CpuKernels) -> None:
    assert "float32 lanes" in plain_cpu.description
    assert len(plain_cpu.notes) == 2
    assert all("exact" in note for note in plain_cpu.notes)


@pytest.mark.skipif(not int8_kernels_are_exact(), reason="this CPU has no exact int8 kernels")
def test_a_cpu_with_int8_kernels_uses_them() -> None:
    assert "oneDNN int8" in CpuKernels().description


class TestContract(KernelsContract):
    @pytest.fixture(params=["quickest", "plain_cpu", "torch_operations"])
    def kernels(self, request: pytest.FixtureRequest) -> Kernels:
        if request.param == "quickest":
            return CpuKernels()
        found: Kernels = request.getfixturevalue(request.param)
        return found
