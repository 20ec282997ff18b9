"""Latency tables: the CSV file, sums for configurations, the least time of a space."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bitfront.evaluators.latency.table import (
    MOST_NOISE,
    Latency,
    LatencyTable,
    TableLatency,
    encoder_shape,
    timed_encoders,
)
from bitfront.evaluators.latency.table_file import COLUMNS, read_table, table_csv, template_csv
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.spaces import BitConfig, EncoderBits, Triple, UserError, triples
from bitfront.spaces.config import collapse

Uniform = Callable[..., BitConfig]
SHAPE = "17x32h2m128"
TRIPLES = list(itertools.product((4, 8), repeat=3))


def milliseconds(triple: Triple) -> float:
    """Made-up times that tell every precision apart; the quickest is not the narrowest."""
    weights, activations, attention = triple
    return 1.0 + 0.1 * weights - 0.05 * activations + 0.3 * (attention == 4) + 0.001 * weights * attention


@pytest.fixture
def table() -> LatencyTable:
    entries = {(SHAPE, triple): Latency(milliseconds(triple), 1.5) for triple in TRIPLES}
    return LatencyTable(entries, Latency(0.7, 2.0), Latency(1 / 3, 0.25), 8, "measured:torch")


HEADER = "part,shape,weights,activations,attention,milliseconds,spread_percent,batch,source\n"
ENCODER = "encoder,17x32h2m128,8,8,8,1.5,0.1,8,mine\n"
REST = "rest,,,,,0.5,0.1,8,mine\n"
FLOAT = "float_model,,,,,5.0,0.1,8,mine\n"


def read(folder: Path, text: str) -> LatencyTable:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path)


class TestFile:
    def test_round_trip(self, tmp_path: Path, table: LatencyTable) -> None:
        others = {"threads": 2, "sum_error": 0.0125}
        for original in (
            table,
            dataclasses.replace(table, scheme="deploy", machine='CPU "A", 2 GHz'),
            dataclasses.replace(table, **others),
        ):
            again = read(tmp_path, table_csv(original))
            assert again == original
            assert table_csv(again) == table_csv(original)

    def test_a_file_by_hand(self, tmp_path: Path) -> None:
        found = read(tmp_path, HEADER + REST + ENCODER + FLOAT)
        assert found == LatencyTable(
            {(SHAPE, (8, 8, 8)): Latency(1.5, 0.1)}, Latency(0.5, 0.1), Latency(5.0, 0.1), 8, "mine"
        )

    def test_a_byte_order_mark_is_harmless(self, tmp_path: Path, table: LatencyTable) -> None:
        assert read(tmp_path, "\ufeff" + table_csv(table)) == table

    def test_some_columns_may_be_left_out(self, tmp_path: Path) -> None:
        found = read(
            tmp_path,
            "batch,milliseconds,part,shape,weights,activations,attention\n"
            "1,2,encoder,s,4,8,8\n1,3,rest,,,,\n1,4,float_model,,,,\n",
        )
        assert (found.batch, found.source, found.scheme, found.machine) == (1, "unnamed", "", "")
        assert found.rest == Latency(3.0, 0.0)

    def test_scheme_and_machine_need_not_be_in_every_row(self, tmp_path: Path) -> None:
        header = HEADER.replace("source", "source,scheme,machine")
        rows = [ENCODER.replace("mine", "mine,deploy,Pixel 8"), REST.replace("mine", ",,"), FLOAT]
        found = read(tmp_path, header + "".join(rows))
        assert (found.source, found.scheme, found.machine) == ("mine", "deploy", "Pixel 8")

    def test_tables_of_earlier_versions_are_of_one_thread(self, tmp_path: Path) -> None:
        found = read(tmp_path, HEADER + REST + ENCODER + FLOAT)
        assert (found.threads, found.sum_error) == (1, 0.0)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            (
                HEADER[:-1] + ",threads\n" + ENCODER[:-1] + ",1\n" + REST[:-1] + ",2\n" + FLOAT,
                "must have one threads in all rows, not 1, 2",
            ),
            (HEADER[:-1] + ",threads\n" + ENCODER[:-1] + ",0\n", "line 2: threads 0 is below 1"),
            (HEADER[:-1] + ",threads\n" + ENCODER[:-1] + ",two\n", "line 2: invalid literal"),
            (
                HEADER[:-1] + ",sum_error_percent\n" + ENCODER[:-1] + ",-1\n",
                "line 2: sum_error_percent -1 is no share in percent",
            ),
            (
                HEADER + ENCODER + "rest,,,,,fast,0,8,mine\n" + FLOAT,
                "line 3: could not convert string to float",
            ),
            (HEADER + ENCODER + "rest,,,,,-1,0,8,mine\n" + FLOAT, "line 3: '-1' is not a positive time"),
            (HEADER + ENCODER + REST + "float_model,,,,,nan,0,8,m\n", "line 4: 'nan' is not a positive time"),
            (HEADER + ENCODER + REST + "float_model,,,,,inf,0,8,m\n", "line 4: 'inf' is not a positive time"),
            (HEADER + "encoder,s,8,x,8,1,0,8,mine\n", "line 2: 'x' is no format of activations"),
            (HEADER + "\n\n" + "encoder,s,8,x,8,1,0,8,mine\n", "line 4: 'x' is no format of activations"),
            (HEADER + f"encoder,{'s' * 200_000},8,8,8,1,0,8,m\n", "cannot be read .*field limit"),
            (HEADER + ENCODER + REST.replace(",8,mine", ",0,mine") + FLOAT, "line 3: batch 0 is below 1"),
            (
                HEADER + ENCODER + REST + FLOAT + REST.replace("rest", "head"),
                "line 5: part 'head' is unknown",
            ),
            (HEADER + "encoder,s,8,8\n", r"1 of 1 rows have no milliseconds \(line 2\)"),
            (
                HEADER + REST + ENCODER + FLOAT + ENCODER,
                "line 5: encoder 17x32h2m128 at W8A8T8 has a time in line 3 already; expected columns part",
            ),
            (HEADER + REST + ENCODER + REST, "line 4: rest has a time in line 2 already"),
            (
                HEADER[:-1] + ",scheme\n" + ENCODER[:-1] + ",w8\n",
                "scheme 'w8' is unknown: expected fq-vit or",
            ),
            (
                HEADER[:-1] + ",machine\n" + ENCODER[:-1] + ",a\n" + REST[:-1] + ",b\n" + FLOAT,
                "must have one machine in all rows, not a, b",
            ),
            ("a,b\n1,2\n", "has no column part, shape, weights, .* in its first line"),
            (HEADER.replace("batch,", "") + ENCODER, "has no column batch: expected part,shape,weights"),
            (HEADER.replace(",", ";"), "has no column part, shape"),
            (HEADER + ENCODER + FLOAT, "needs rows encoder, rest and float_model.* missing: rest"),
            (HEADER + REST + FLOAT, "needs rows encoder, rest and float_model"),
            (HEADER + ENCODER + REST + FLOAT.replace(",8,mine", ",4,mine"), r"batch sizes: \[4, 8\]"),
            (HEADER, "needs rows encoder, rest and float_model"),
            ("", "has no column part"),
        ],
    )
    def test_faults_are_named(self, tmp_path: Path, text: str, match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            read(tmp_path, text)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "table.csv") in str(caught.value)

    def test_files_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "binary.csv").write_bytes(b"part\n\xff\xfe")
        for path in (tmp_path / "missing.csv", tmp_path, tmp_path / "binary.csv"):
            with pytest.raises(UserError, match=r"cannot be read .*: give a CSV file"):
                read_table(path)


class TestTemplate:
    def test_a_template_is_a_table_once_it_is_filled_in(self, tmp_path: Path, blueprint: Blueprint) -> None:
        text = template_csv(blueprint, (3, 4), 8, "deploy")
        header, *rows = text.splitlines()
        # Two widths, and 8 bits throughout for the reference; then the rest and the float model.
        assert len(rows) == 8 + 1 + 2
        assert set(header.split(",")) == set(COLUMNS)
        filled = [row.replace(",,,8,", f",{number},,8,") for number, row in enumerate(rows, start=1)]
        found = read(tmp_path, "\n".join([header, *filled]))
        assert (found.batch, found.scheme, found.rest.milliseconds) == (8, "deploy", 10.0)
        assert (
            TableLatency(found, timed_encoders(blueprint), [(8, 8, 8), *triples((3, 4))]).source == "unnamed"
        )

    def test_rows_that_are_still_empty_are_named(self, tmp_path: Path, blueprint: Blueprint) -> None:
        header, *rows = template_csv(blueprint, (4, 8), 1, "fq-vit").splitlines()
        for place in (0, 4, 9):
            rows[place] = rows[place].replace(",,,1,", ",2.5,,1,")
        with pytest.raises(UserError, match=r"7 of 10 rows have no milliseconds \(lines 3 to 5, 7 to 10\)"):
            read(tmp_path, "\n".join([header, *rows]))

    def test_every_shape_is_there_once(self, small_swin) -> None:
        swin = blueprint_of("swin", small_swin(0))
        text = template_csv(swin, (8,), 1, "deploy")
        shapes = [line.split(",")[1] for line in text.splitlines()[1:-2]]
        assert sorted(shapes) == sorted(set(map(encoder_shape, swin.encoders)))


class TestSums:
    def test_shape_as_text(self, blueprint: Blueprint, deit_tiny: Blueprint) -> None:
        assert encoder_shape(blueprint.encoders[0]) == SHAPE
        assert encoder_shape(deit_tiny.encoders[0]) == "197x192h3m768"

    def test_encoders_add_up(self, table: LatencyTable, blueprint: Blueprint) -> None:
        chosen: list[Triple] = [(8, 8, 4), (4, 8, 8), (4, 4, 4)]
        config = BitConfig(
            "small", "fq-vit", tuple(EncoderBits(i, f"blocks.{i}", *bits) for i, bits in enumerate(chosen))
        )
        latency = TableLatency(table, timed_encoders(blueprint), triples((4, 8)))
        assert latency.latency_ms(config) == pytest.approx(0.7 + sum(map(milliseconds, chosen)))
        assert latency.source == "measured:torch"

    def test_mixed_layers_take_the_mean_by_multiply_accumulates(
        self, table: LatencyTable, blueprint: Blueprint, uniform: Uniform
    ) -> None:
        weights = (("attn.qkv", 4), ("attn.proj", 8), ("mlp.fc1", 8), ("mlp.fc2", 4))
        activations = (("attn.qkv", 8), ("attn.proj", 4), ("mlp.fc1", 8), ("mlp.fc2", 4))
        mixed = EncoderBits(1, "blocks.1", weights, activations, 8)
        rest = uniform(blueprint, (8, 8, 8)).encoders
        config = BitConfig("small", "fq-vit", (rest[0], mixed, rest[2]))
        # Of 12 parts of 32 x 32 weights, qkv has 3, proj 1, fc1 4 and fc2 4.
        mean = (
            3 * milliseconds((4, 8, 8))
            + 1 * milliseconds((8, 4, 8))
            + 4 * milliseconds((8, 8, 8))
            + 4 * milliseconds((4, 4, 8))
        ) / 12
        expected = 0.7 + 2 * milliseconds((8, 8, 8)) + mean
        assert TableLatency(table, timed_encoders(blueprint), triples((4, 8))).latency_ms(
            config
        ) == pytest.approx(expected)

    def test_equal_times_are_equal_to_the_last_bit(self, deit_tiny: Blueprint) -> None:
        shape = encoder_shape(deit_tiny.encoders[0])
        rng = np.random.default_rng(3)
        times = {(shape, triple): Latency(float(rng.uniform(0.5, 2.0))) for triple in TRIPLES}
        # Whatever runs the same program has the same time.
        times |= {(shape, (4, a, t)): times[shape, (8, a, t)] for a in (4, 8) for t in (4, 8)}
        table = LatencyTable(times, Latency(0.7), Latency(9.0), 1, "drawn")
        latency = TableLatency(table, timed_encoders(deit_tiny), triples((4, 8)))
        chosen = [TRIPLES[i] for i in rng.integers(len(TRIPLES), size=len(deit_tiny.encoders))]

        def of(order: Sequence[int], weights: Sequence[int]) -> float:
            bits = [(w, *chosen[place][1:]) for place, w in zip(order, weights, strict=True)]
            encoders = [EncoderBits(i, f"blocks.{i}", *one) for i, one in enumerate(bits)]
            return latency.latency_ms(BitConfig("deit", "fq-vit", tuple(encoders)))

        orders = [rng.permutation(len(chosen)) for _ in range(50)]
        assert len({of(order, rng.choice([4, 8], len(chosen)).tolist()) for order in orders}) == 1

    def test_equal_shares_of_layers_are_equal_wherever_they_are(
        self, table: LatencyTable, blueprint: Blueprint
    ) -> None:
        latency = TableLatency(table, timed_encoders(blueprint), triples((4, 8)))
        names = list(blueprint.encoders[0].linear())

        def of(narrow: Sequence[tuple[int, str]]) -> float:
            encoders = []
            for index in range(len(blueprint.encoders)):
                weights = {name: 4 if (index, name) in narrow else 8 for name in names}
                encoders.append(EncoderBits(index, f"blocks.{index}", collapse(weights), 8, 8))
            return latency.latency_ms(BitConfig("small", "fq-vit", tuple(encoders)))

        qkv, proj, fc1, fc2 = names
        # fc1 and fc2 have 4 of 12 parts each, qkv and proj together as many.
        assert of([(0, fc1), (0, fc2)]) == of([(1, fc2), (2, fc1)]) == of([(2, qkv), (0, proj), (1, fc1)])

    def test_noise_is_the_standard_error_of_the_entries(
        self, table: LatencyTable, blueprint: Blueprint
    ) -> None:
        noisy = TableLatency(table, timed_encoders(blueprint), triples((4, 8)))
        # Medians of five repeats of normal times, each the mean of many: their range and the median of all.
        drawn = np.random.default_rng(0).normal(size=(20_000, 5))
        spread, error = np.ptp(drawn, axis=1).mean(), np.median(drawn, axis=1).std()
        assert noisy.noise == pytest.approx(0.015 * error / spread, rel=0.06)
        exact = {key: Latency(entry.milliseconds) for key, entry in table.encoders.items()}
        modelled = dataclasses.replace(table, encoders=exact)
        assert TableLatency(modelled, timed_encoders(blueprint), triples((4, 8))).noise == 0.0

    def test_repeats_that_other_work_stopped_say_nothing_of_errors(
        self, table: LatencyTable, blueprint: Blueprint
    ) -> None:
        stopped = {key: dataclasses.replace(e, spread_percent=2470.0) for key, e in table.encoders.items()}
        found = TableLatency(
            dataclasses.replace(table, encoders=stopped), timed_encoders(blueprint), triples((4, 8))
        )
        assert found.noise == MOST_NOISE == 0.1

    @pytest.mark.parametrize("spread", [math.nan, math.inf, -1.0])
    def test_spreads_that_are_none_are_no_noise(self, spread: float) -> None:
        assert Latency(1.0, spread).relative_error == 0.0

    def test_missing_precisions_are_named(self, table: LatencyTable, blueprint: Blueprint) -> None:
        entries = {key: entry for key, entry in table.encoders.items() if key[1] != (4, 8, 4)}
        with pytest.raises(UserError, match="no entry for encoder shape 17x32h2m128 at W4A8T4"):
            TableLatency(
                dataclasses.replace(table, encoders=entries), timed_encoders(blueprint), triples((4, 8))
            )
        with pytest.raises(UserError, match=r"no entry for encoder shape .*3.* build one with"):
            TableLatency(table, timed_encoders(blueprint), triples((3, 8)))

    def test_tables_of_other_models_are_refused(self, table: LatencyTable, deit_tiny: Blueprint) -> None:
        with pytest.raises(UserError, match="no entry for encoder shape 197x192h3m768 at W8A8T8"):
            TableLatency(table, timed_encoders(deit_tiny), triples((4, 8)))
