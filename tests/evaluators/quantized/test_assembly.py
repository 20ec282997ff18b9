"""Assembling a configuration only switches tensors that were prepared once."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from quantized_cases import WIDTHS, config_of, small_case

from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import SCHEMES


@cache
def prepared(name: str, scheme: str) -> tuple[PreparedModel, torch.Tensor]:
    case = small_case(name, 64)
    return PreparedModel(case.blueprint, case.calibration(scheme), scheme, WIDTHS), case.images[:6]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_equal_choices_are_the_same_tensors(name: str, scheme: str) -> None:
    model, images = prepared(name, scheme)
    first, again, other = (
        model.assemble(config_of(model.blueprint, scheme, bits)) for bits in ((4, 8, 4), (4, 8, 4), (8, 8, 4))
    )
    assert first.encoders[0].linear["attn.qkv"] is again.encoders[0].linear["attn.qkv"]
    assert first.encoders[0].linear["attn.qkv"] is not other.encoders[0].linear["attn.qkv"]
    assert first.encoders[0].attention is other.encoders[0].attention
    assert first.embedding is other.embedding
    assert torch.equal(first(images), again(images))
    assert not torch.equal(first(images), other(images))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_logits_do_not_depend_on_what_was_assembled_before(scheme: str) -> None:
    model, images = prepared("swin", scheme)
    configs = [config_of(model.blueprint, scheme, bits) for bits in ((8, 8, 8), "mixed 1", (4, 4, 4))]
    forwards = [model.assemble(config)(images) for config in configs]
    backwards = [model.assemble(config)(images) for config in reversed(configs)]
    for logits, same in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(logits, same)
