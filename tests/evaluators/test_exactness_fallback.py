"""The path for CPUs without exact int8 kernels: integers in float lanes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.fq_vit import PreparedFqVit
from bitfront.evaluators.kernels import linear
from bitfront.evaluators.kernels.linear import FloatLaneLinear, OneDnnLinear, int8_kernels_are_exact
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantizers import AffineGrid, QuantizedWeight
from bitfront.spaces import BitConfig

BITS = [(8, 8, 8), (8, 8, 4), (4, 8, 8), (4, 4, 4)]


@pytest.fixture(scope="module")
def fallback(blueprint: Blueprint, calibration: Calibration) -> PreparedFqVit:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(linear, "int8_kernels_are_exact", lambda: False)
        return PreparedFqVit(blueprint, calibration, (4, 8))


@pytest.mark.parametrize("bits", BITS)
def test_the_whole_model_runs_in_float_lanes(
    fallback: PreparedFqVit,
    blueprint: Blueprint,
    images: torch.Tensor,
    uniform: Callable[..., BitConfig],
    bits,
) -> None:
    model = fallback.assemble(uniform(blueprint, bits))
    encoder = model.encoders[0]
    layers = (encoder.qkv, encoder.proj, encoder.fc1, encoder.fc2)
    assert {type(layer) for layer in layers} == {FloatLaneLinear}
    logits = model(images)
    assert logits.shape == (6, 7)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("bits", BITS)
def test_it_agrees_with_the_int8_kernels_up_to_ties(
    fallback: PreparedFqVit,
    prepared: PreparedFqVit,
    blueprint: Blueprint,
    images: torch.Tensor,
    uniform: Callable[..., BitConfig],
    bits,
) -> None:
    if not int8_kernels_are_exact():
        pytest.skip("this CPU has no exact int8 kernels to compare with")
    config = uniform(blueprint, bits)
    plain, quick = fallback.assemble(config), prepared.assemble(config)
    assert type(quick.encoders[0].qkv) is OneDnnLinear
    x, _ = quick.embedding(images, quick.encoders[0].norm1)
    other, _ = plain.embedding(images, plain.encoders[0].norm1)
    assert float((x != other).double().mean()) < 1e-3
    for first, second in zip(quick.encoders, plain.encoders, strict=True):
        codes, _ = first(x, first.norm1(x), len(images), None)
        others, _ = second(x, second.norm1(x), len(images), None)
        # A tie inside the encoder that falls the other way may move the sum by a code.
        difference = (codes.int() - others.int()).abs()
        assert int(difference.max()) <= 2
        assert float((difference > 0).double().mean()) < 0.005
        x = codes
    assert torch.equal(quick.readout(x, len(images)), plain.readout(x, len(images)))


@pytest.mark.parametrize(
    ("inner", "lane"), [(514, torch.float32), (515, torch.float64), (3072, torch.float64)]
)
def test_lanes_are_wide_enough_for_the_largest_sums(inner: int, lane: torch.dtype) -> None:
    weight = QuantizedWeight(torch.full((2, inner), -128, dtype=torch.int8), torch.ones(2), 8)
    weight.codes[1, ::2] = 127
    x = torch.full((1, inner), 255, dtype=torch.uint8)
    x[0, 0] = 254
    layer = FloatLaneLinear(weight, torch.zeros(2))
    expected = weight.codes.long() @ x[0].long()
    assert layer._lane == lane
    assert layer.to_float(x, AffineGrid(1.0, 0, 255)).tolist() == [expected.float().tolist()]
