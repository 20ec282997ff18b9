"""Modelled latency: bit operations by hand."""

from __future__ import annotations

import itertools

import pytest
import torch

from bitfront.evaluators.latency import latency_source
from bitfront.evaluators.latency.modelled import encoder_bit_operations, model_table
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantized import PreparedModel
from bitfront.spaces import UserError

# The small model: 17 tokens, 32 channels, 128 hidden, 16 patches of 48 values, 7 classes, 3 encoders.
LINEAR = 17 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
PRODUCT = 17 * 17 * 32
OUTER = 16 * 48 * 32 + 7 * 32
PER_MS = 1e9 * 32 * 32 / 1e3  # a nominal rate


@pytest.mark.parametrize("bits", list(itertools.product((4, 8), repeat=3)))
def test_bit_operations_of_an_encoder(blueprint: Blueprint, bits: tuple[int, int, int]) -> None:
    w, a, t = bits
    expected = LINEAR * w * a + PRODUCT * a * a + PRODUCT * t * a
    assert encoder_bit_operations(blueprint.encoders[0], bits) == expected


def test_the_table_by_hand(blueprint: Blueprint) -> None:
    table = model_table(blueprint, (4, 8))
    assert (table.batch, table.source) == (1, "model:bops")
    assert len(table.encoders) == 8
    narrow = table.encoders["17x32h2m128", (4, 4, 4)].milliseconds
    assert narrow == pytest.approx((LINEAR + 2 * PRODUCT) * 16 / PER_MS)
    assert table.rest.milliseconds == pytest.approx(OUTER * 64 / PER_MS)
    total = (OUTER + 3 * (LINEAR + 2 * PRODUCT)) * 32 * 32
    assert table.float_model.milliseconds == pytest.approx(total / PER_MS)


def test_uniform_eight_bits_take_a_sixteenth_of_float(blueprint: Blueprint) -> None:
    table = model_table(blueprint, (4, 8))
    whole = table.rest.milliseconds + 3 * table.encoders["17x32h2m128", (8, 8, 8)].milliseconds
    assert table.float_model.milliseconds / whole == pytest.approx(16.0)


def test_the_source_by_name(prepared: PreparedModel, module: torch.nn.Module) -> None:
    table = latency_source("model:bops").table(prepared, module, batch=64)
    assert table == model_table(prepared.blueprint, prepared.widths)
    with pytest.raises(UserError, match=r"unknown latency source 'model:gpu': choose .* or model:bops"):
        latency_source("model:gpu")
