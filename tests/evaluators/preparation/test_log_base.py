"""The searched base of logarithmic attention codes against what is known of flat and of peaked attention."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from quantized_cases import Case, small, small_case
from quantized_stages import attention_codes

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import EncoderParts
from bitfront.evaluators.preparation.log_base import IMAGES, STEPS, search_log_steps
from bitfront.evaluators.quantizers.grids import AffineGrid

UNUSED = AffineGrid(1.0, 0, 15)


def sharpened(blueprint: Blueprint, factor: float) -> Blueprint:
    """The model with all scores times ``factor``."""
    encoders = tuple(
        dataclasses.replace(encoder, score_scales=encoder.score_scales * factor)
        for encoder in blueprint.encoders
    )
    return dataclasses.replace(blueprint, encoders=encoders)


@torch.inference_mode()
def context_errors(blueprint: Blueprint, encoder: EncoderParts, images: torch.Tensor) -> list[float]:
    """Squared errors of the attention output with the reference's codes of every base, window by window."""
    seen: dict[str, torch.Tensor] = {}
    forward(blueprint, images, lambda site, value: seen.update({site: value.double()}))
    attention, qkv = seen[f"{encoder.name}.attn.softmax"], seen[f"{encoder.name}.attn.qkv"]
    rows = torch.arange(encoder.tokens)[None] if encoder.window is None else encoder.window.rows.long()
    values = qkv[:, rows].unflatten(-1, (3, encoder.heads, -1))[..., 2, :, :].flatten(0, 1).transpose(1, 2)
    return [
        float(((attention_codes(attention, UNUSED, 4, step) - attention) @ values).square().sum())
        for step in STEPS
    ]


@pytest.fixture(params=["vit", "swin", "wide swin"])
def case(request: pytest.FixtureRequest) -> Case:
    return small_case(request.param, IMAGES)


@pytest.mark.parametrize("sharpness", [1.0, 8.0, 60.0])
def test_it_leaves_the_least_error_of_the_attention_output(case: Case, sharpness: float) -> None:
    """In Swin that is within windows, some of which are masked."""
    blueprint = sharpened(case.blueprint, sharpness)
    found = search_log_steps(blueprint, lambda: [case.images])
    assert set(found) == set(range(len(blueprint.encoders)))
    for index, encoder in enumerate(blueprint.encoders):
        errors = context_errors(blueprint, encoder, case.images)
        # The codes' values are rounded to two bytes in the reference.
        assert errors[STEPS.index(found[index])] <= min(errors) * 1.001


def test_attention_between_flat_and_peaked_takes_a_base_below_2() -> None:
    case = small_case("vit", IMAGES)
    assert max(search_log_steps(case.blueprint, lambda: [case.images]).values()) < 1.0


def test_attention_to_one_token_alone_keeps_base_2() -> None:
    """Every base has 1 and 0; then the faithful one is taken."""
    case = small_case("vit", IMAGES)
    peaked = sharpened(case.blueprint, 1e9)
    assert set(search_log_steps(peaked, lambda: [case.images]).values()) == {1.0}


def test_attention_to_a_thousand_tokens_alike_keeps_a_base_that_reaches_them() -> None:
    """Sixteen codes of the root of 2 end at 2^-7.75, where a token in 1,025 has 2^-10."""
    torch.manual_seed(0)
    module = small("vit", img_size=64, patch_size=2, depth=1).eval()
    flat = sharpened(blueprint_of("flat", module), 1e-6)
    assert flat.tokens == 1025
    found = search_log_steps(flat, lambda: [torch.randn(2, 3, 64, 64)])
    assert found[0] * 15.5 > 10.0


def test_only_the_first_images_are_looked_at() -> None:
    case = small_case("vit", IMAGES + 8)
    first = case.images[:IMAGES]
    whole = search_log_steps(case.blueprint, lambda: [case.images, case.images * 100])
    assert whole == search_log_steps(case.blueprint, lambda: [first])
