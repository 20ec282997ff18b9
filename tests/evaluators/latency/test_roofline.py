"""Modelled latency: bit operations and rooflines by hand."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from bitfront.evaluators.latency.hardware_profile import HardwareProfile, profile_named
from bitfront.evaluators.latency.roofline import (
    Operator,
    Widths,
    encoder_operators,
    model_table,
    outer_operators,
    seconds,
)
from bitfront.evaluators.latency.table import encoder_shape
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of

# The small model: 17 tokens, 32 channels, 128 hidden, 16 patches of 48 values, 7 classes, 3 encoders.
SHAPE = "17x32h2m128"
LINEAR = 17 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
PRODUCT = 17 * 17 * 32
OUTER = 16 * 48 * 32 + 7 * 32
PER_MS = 1e9 * 32 * 32 / 1e3  # a nominal rate


def profile(**options: object) -> HardwareProfile:
    rates = {(8, 8): Fraction(1000), (4, 4): Fraction(4000)}
    settings = {"rates": rates, "float_rate": Fraction(500), **options}
    return HardwareProfile("mine", "a machine", "its maker", **settings)  # type: ignore[arg-type]


class TestBitOperations:
    @pytest.mark.parametrize("bits", list(itertools.product((4, 8), repeat=3)))
    def test_of_an_encoder(self, blueprint: Blueprint, bits: tuple[int, int, int]) -> None:
        w, a, t = bits
        operations = LINEAR * w * a + PRODUCT * a * a + PRODUCT * t * a
        table = model_table(profile_named("bops"), blueprint, (4, 8), "fq-vit")
        # To the last bit: earlier runs recorded these times.
        assert table.encoders[SHAPE, bits].milliseconds == operations / PER_MS

    def test_of_the_whole_model(self, blueprint: Blueprint) -> None:
        table = model_table(profile_named("bops"), blueprint, (4, 8), "deploy")
        assert (table.batch, table.source, table.machine) == (1, "model:bops", "")
        assert len(table.encoders) == 8
        assert table.rest.milliseconds == OUTER * 64 / PER_MS
        assert table.float_model.milliseconds == (OUTER + 3 * (LINEAR + 2 * PRODUCT)) * 32 * 32 / PER_MS

    def test_a_batch_takes_as_many_times_as_long(self, blueprint: Blueprint) -> None:
        one, many = (model_table(profile_named("bops"), blueprint, (8,), "fq-vit", n) for n in (1, 64))
        assert many.batch == 64
        for name in ("rest", "float_model"):
            assert getattr(many, name).milliseconds == 64 * getattr(one, name).milliseconds


class TestOperators:
    def test_of_an_encoder_by_hand(self, blueprint: Blueprint) -> None:
        w, a, t, stream, tokens = 4, 8, 3, 16, 2 * 17
        found = encoder_operators(blueprint.encoders[0], Widths(w, a, t, stream), 2)
        matrix = 2 * 2 * 17 * 17 * t
        assert found == [
            Operator(tokens * 32 * (stream + a)),
            Operator(tokens * (32 + 96) * a + 32 * 96 * w, tokens * 32 * 96, (w, a), 32 * 96 * w),
            Operator(tokens * 64 * a + matrix, 2 * PRODUCT, (a, a)),
            Operator(tokens * 64 * a + matrix, 2 * PRODUCT, (t, a)),
            Operator(tokens * 32 * (a + 2 * stream) + 32 * 32 * w, tokens * 32 * 32, (w, a), 32 * 32 * w),
            Operator(tokens * 32 * (stream + a)),
            Operator(tokens * (32 + 128) * a + 32 * 128 * w, tokens * 32 * 128, (w, a), 32 * 128 * w),
            Operator(
                tokens * (128 * a + 2 * 32 * stream) + 32 * 128 * w, tokens * 32 * 128, (w, a), 32 * 128 * w
            ),
        ]

    def test_outside_the_encoders_by_hand(self, blueprint: Blueprint) -> None:
        embedding, norm, head = outer_operators(blueprint, Widths(8, 8, 8, 32), 2)
        assert embedding == Operator(32 * (48 * 8 + 32 * 32) + 48 * 32 * 8, 32 * 48 * 32, (8, 8), 48 * 32 * 8)
        assert norm == Operator(2 * 32 * (32 + 8))
        assert head == Operator(2 * 32 * 8 + 7 * 32 * 8 + 2 * 7 * 32, 2 * 7 * 32, (8, 8), 7 * 32 * 8)

    def test_float_multiplies_float(self, blueprint: Blueprint) -> None:
        widths = Widths(16, 16, 16, 16, whole=True)
        found = encoder_operators(blueprint.encoders[0], widths, 1) + outer_operators(blueprint, widths, 1)
        assert {operator.operands for operator in found} == {None}

    def test_windows_and_mergings_count(self, small_swin) -> None:
        swin = blueprint_of("swin", small_swin(0))
        table = model_table(profile(bytes_per_second=Fraction(10**6)), swin, (4, 8), "deploy")
        assert {shape for shape, _ in table.encoders} == set(map(encoder_shape, swin.encoders))
        [merge] = swin.merges.values()
        outer = outer_operators(swin, Widths(8, 8, 8, 32), 1)
        assert merge.reduction.weight.numel() * len(merge.rows) in {operator.macs for operator in outer}


class TestRoofline:
    def test_the_longer_of_products_and_data_counts(self) -> None:
        machine = profile(bytes_per_second=Fraction(100), operator_seconds=Fraction(1, 2))
        computing, moving = Operator(8, 3000, (8, 8)), Operator(1600, 1000, (8, 8))
        assert seconds(machine, [computing]) == Fraction(7, 2)
        assert seconds(machine, [moving]) == Fraction(5, 2)
        assert seconds(machine, [computing, moving, Operator(0)]) == Fraction(13, 2)
        assert seconds(machine, [Operator(0, 1000)]) == Fraction(5, 2)  # float
        assert seconds(profile(), [moving]) == 1

    def test_the_nearest_wider_pair_stands_in(self) -> None:
        machine = profile()
        assert machine.rate(4, 4) == machine.rate(2, 3) == 4000
        assert machine.rate(4, 8) == machine.rate(8, 4) == machine.rate(5, 5) == 1000
        assert machine.rate(9, 4) == 500  # as float
        mixed = profile(rates={(8, 8): Fraction(1), (4, 8): Fraction(2)})
        assert mixed.rate(4, 4) == mixed.rate(8, 4) == 2

    def test_stand_ins_are_told(self) -> None:
        first, *others = profile().notes((4, 8, 12))
        assert first == ("latencies by model:mine are modelled, not measured: a machine (source: its maker)")
        assert others == [
            "model:mine has no rate for operands of 4x8 bits: that of 8x8 is taken",
            "model:mine has no rate for operands of 4x12, 8x12, 12x12 bits: that of float is taken",
        ]
        assert len(profile_named("bops").notes((2, 3, 8))) == 1

    def test_what_a_scheme_leaves_in_float_moves_more(self, blueprint: Blueprint) -> None:
        machine = profile(bytes_per_second=Fraction(1))  # so that data decide
        lean, wide = (model_table(machine, blueprint, (8,), scheme) for scheme in ("fq-vit", "deploy"))
        key = (SHAPE, (8, 8, 8))
        # The stream is read by two norms and two sums and written by these: of 8 bits, or of 32.
        extra = 6 * 17 * 32 * (32 - 8) / 8
        assert wide.encoders[key].milliseconds - lean.encoders[key].milliseconds == 1000 * extra
        assert (lean.scheme, wide.scheme) == ("fq-vit", "deploy")

    def test_encoders_have_an_overhead_of_their_own(self, blueprint: Blueprint) -> None:
        plain, slow = (
            model_table(profile(encoder_seconds=Fraction(n)), blueprint, (8,), "fq-vit") for n in (0, 2)
        )
        key = (SHAPE, (8, 8, 8))
        assert slow.encoders[key].milliseconds == pytest.approx(plain.encoders[key].milliseconds + 2000)
        assert slow.float_model.milliseconds == pytest.approx(plain.float_model.milliseconds + 6000)
        assert slow.rest == plain.rest
