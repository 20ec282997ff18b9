"""Encoders of mixed arithmetic against the reference: every format at every tensor."""

from __future__ import annotations

import functools

import pytest
import torch
from format_cases import ASSIGNMENTS, CHOICES, case
from quantized_cases import Bits
from quantized_comparison import Comparison, Deviations
from quantized_taps import check_stages

from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.mixed import MixedEncoder
from bitfront.evaluators.quantized.model import QuantizedEncoder
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import Choices, UserError

PLAIN = ("vit", "swin")
OTHERS = ("gate last", "inner norms", "res-post-norm", "eva02", "dinov3", "swin v2")


@functools.cache
def comparison(name: str, kernels: str = "cpu", seed: int = 0) -> Comparison:
    return Comparison(case(name, seed), "deploy", kernels, recipe="best", choices=CHOICES)


@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_every_stage_agrees_on_equal_inputs(name: str, bits: Bits) -> None:
    check_stages(comparison(name), bits)


@pytest.mark.thorough
@pytest.mark.parametrize("bits", ["mixed 4", "mixed 5"])
@pytest.mark.parametrize("name", OTHERS)
def test_so_it_does_with_other_parts(name: str, bits: Bits) -> None:
    check_stages(comparison(name), bits)


@pytest.mark.parametrize("bits", ["mixed 6", ("int8a", 8, 8)], ids=str)
def test_so_it_does_with_other_kernels(bits: Bits) -> None:
    check_stages(comparison("vit", "portable"), bits)


@pytest.mark.parametrize("names", [PLAIN, OTHERS], ids=["plain", "others"])
def test_whole_networks_deviate_no_more_than_float_fake_quantization(names: tuple[str, ...]) -> None:
    """The mean deviation from float64 is at most twice that of float32 fake quantization, at 3 sigma."""
    compared = [comparison(name) for name in names]
    assignments = ASSIGNMENTS if names == PLAIN else ("mixed 7", "mixed 8")
    found = Deviations.pooled(
        c.deviations(bits).as_one_sample(c.spread()) for c in compared for bits in assignments
    )
    assert 0 < found.noise.mean() < 0.01
    assert found.evaluator.mean() < 0.01
    assert found.excess < 3


def test_floats_are_nearer_to_the_float_model_than_integers() -> None:
    compared = comparison("vit")
    images, module = compared.case.images, compared.case.module
    with torch.inference_mode():
        wanted = module(images)
        distance = [
            float((compared.models(bits)[0](images) - wanted).abs().mean())
            for bits in ((8, 8, 8), (8, "bf16", "bf16"), ("bf16", "bf16", "bf16"))
        ]
    assert distance[0] > distance[1] > distance[2] > 0


def test_encoders_of_integers_alone_run_as_before() -> None:
    compared = comparison("vit")
    plain = compared.models((8, 8, 4))[0].encoders
    assert all(isinstance(encoder, QuantizedEncoder) for encoder in plain)
    assert all(
        isinstance(encoder, QuantizedEncoder) for encoder in compared.models(("int8a", 8, 8))[0].encoders
    )
    assert all(isinstance(encoder, MixedEncoder) for encoder in compared.models((8, 8, "bf16"))[0].encoders)


def test_only_prepared_formats_are_assembled() -> None:
    compared = comparison("vit")
    with pytest.raises(UserError, match=r"widths \[6\] of activations were not prepared"):
        compared.models((8, 6, 8))


def test_an_integer_scheme_refuses_floats() -> None:
    compared = comparison("vit")
    found = compared.case.calibrated("fq-vit", recipe_named("fq-vit"))
    with pytest.raises(UserError, match="scheme fq-vit takes plain integers"):
        PreparedModel(found.blueprint, found.calibration, "fq-vit", Choices((8,), (8, "bf16"), (8,)))
