"""Genes that cannot pay, against the fronts of whole spaces and against tables as runtimes measure them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.costs import least_cost
from bitfront.search.problem.archive import dominates
from bitfront.search.problem.kept_genes import genes_to_keep, kept_at_widest
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import EIGHT_BIT_NAME, FLOAT_NAME, Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.spaces import (
    FORMATS,
    BitConfig,
    Choices,
    EncoderLayers,
    FormatName,
    SearchSpace,
    StructuralConstraint,
    Triple,
    triples,
)

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
# As OpenVINO takes an encoder of DeiT-Tiny: there are kernels of 8 bits alone.
OPENVINO = {bits: 0.97 if bits[1:] == (8, 8) else 2.43 for bits in triples((4, 8))}
FREE = RunSpec(allow_slower=True, allow_larger=True, allow_uniform=True)


def bits(value: FormatName) -> int:
    return FORMATS[value].bits


class Cost:
    """Encoders by a table, sizes by kind and width."""

    latency_source = "table:made up"

    def __init__(self, table: Mapping[Triple, float], sizes: Mapping[str, float], noise: float = 0.0) -> None:
        self.table, self.sizes, self.latency_noise = table, sizes, noise
        self.further: dict[str, object] = {}

    def latency_ms(self, config: BitConfig) -> float:
        return 0.5 + sum(
            self.table[e.bits("weights", layer), e.bits("activations", layer), e.attention] / len(LINEAR)
            for e in config.encoders
            for layer in LINEAR
        )

    def size_bytes(self, config: BitConfig) -> int:
        found = 10_000.0
        for encoder in config.encoders:
            for layer in LINEAR:
                found += self.sizes["weights"] / 4 * bits(encoder.bits("weights", layer))
                found += self.sizes["activations"] / 4 * bits(encoder.bits("activations", layer))
            found += self.sizes["attention"] * bits(encoder.attention)
        return round(found)

    def minimum_latency_ms(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        return least_cost(space, self.latency_ms, rules)

    def minimum_size_bytes(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> int:
        return int(least_cost(space, self.size_bytes, rules, separable=True))

    def maximum_size_bytes(self, space: SearchSpace) -> int:
        return -int(least_cost(space, lambda config: -self.size_bytes(config), separable=True))


# Narrow activations and attention bring tables: some bytes more at fewer bits.
TABLES = {"weights": 20_000.0, "activations": -40.0, "attention": -20.0}


def problem(
    cost: Cost,
    spec: RunSpec = FREE,
    granularity: str = "encoder-kind",
    encoders: int = 12,
    widths: tuple[int, ...] | Choices = (4, 8),
    fixed: tuple = (),
    float_ms: float = 100.0,
) -> SearchProblem:
    layers = [EncoderLayers(i, f"blocks.{i}", LINEAR) for i in range(encoders)]
    space = SearchSpace("m", "deploy", layers, widths, granularity, fixed)  # type: ignore[arg-type]
    eight = BitConfig.uniform("m", "deploy", layers, (8, 8, 8))
    references = References(
        Reference(FLOAT_NAME, float_ms, 10_000_000, {"top1": 98.0}, classes=10, images=500),
        Reference(EIGHT_BIT_NAME, cost.latency_ms(eight), cost.size_bytes(eight)),
    )
    return SearchProblem.from_spec(spec, space, cost, references)


def test_what_takes_longer_and_more_bytes_is_kept_at_eight_bits() -> None:
    found = genes_to_keep(problem(Cost(OPENVINO, TABLES), RunSpec()))
    kinds = ("activations", "attention")
    assert found.bits == {f"encoder{i:02d}.{kind}": 8 for i in range(12) for kind in kinds}
    assert found.note == (
        "activations and attention are kept at 8 bits in 24 of 36 genes: at 4 bits the model takes 29.66 ms "
        "instead of 12.14 and has 2,880 bytes more; --all-genes searches them, too"
    )


@pytest.mark.parametrize("granularity", ["encoder-kind", "layer"])
@pytest.mark.parametrize("seed", range(8))
def test_no_front_of_a_whole_space_loses_a_point(granularity: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Coarse times, so that many narrower widths save nothing.
    table = {bits: float(rng.integers(1, 4)) for bits in triples((4, 8))}
    signs = rng.choice([-1.0, 0.0, 1.0], size=3)
    cost = Cost(table, dict(zip(("weights", "activations", "attention"), 9000.0 * signs, strict=True)))
    stated = problem(cost, granularity=granularity, encoders=2 if granularity == "encoder-kind" else 1)
    kept = genes_to_keep(stated).bits
    worth = rng.gamma(1.0, 1.0, size=len(stated.space))
    points, inside = [], []
    for genome in itertools.product(range(2), repeat=len(stated.space)):
        config = stated.space.decode(np.array(genome))
        # Wider is better, by how much depends on the gene.
        points.append((-float(worth @ genome), cost.latency_ms(config), float(cost.size_bytes(config))))
        bits = stated.space.bits(np.array(genome))
        inside.append(all(bits[name] == width for name, width in kept.items()))
    for point in points:
        assert any(
            other == point or dominates(other, point) for other, i in zip(points, inside, strict=True) if i
        )


def test_a_gene_that_pays_beside_one_narrow_width_alone_is_searched() -> None:
    # Four-bit activations pay where weights have 4 bits, too: there are kernels W4A4.
    table = {bits: 2.0 - (bits == (4, 4, 8)) - 0.1 * (bits[0] == 4) for bits in triples((4, 8))}
    found = genes_to_keep(problem(Cost(table, TABLES), encoders=2))
    assert set(found.bits) == {"encoder00.attention", "encoder01.attention"}


def test_what_saves_only_beside_what_never_pays_is_kept_too() -> None:
    table = {bits: 1.0 + (bits[1] == 4) - 0.3 * (bits[1:] == (4, 4)) for bits in triples((4, 8))}
    found = genes_to_keep(problem(Cost(table, TABLES), encoders=1))
    assert set(found.bits) == {"encoder00.activations", "encoder00.attention"}


def test_of_several_widths_those_that_save_are_all_searched() -> None:
    # Six-bit attention saves time, four-bit attention does not; nothing but eight-bit activations is quick.
    table = {bits: 1.0 + (bits[1] < 8) - 0.2 * (bits[2] == 6) for bits in triples((4, 6, 8))}
    found = genes_to_keep(problem(Cost(table, TABLES), encoders=1, widths=(4, 6, 8)))
    assert found.bits == {"encoder00.activations": 8}
    assert "at 6 bits" in found.note
    assert "at 4 bits" not in found.note


def test_kinds_with_formats_of_their_own_are_kept_at_the_widest_of_these() -> None:
    choices = Choices((4, 8, "bf16"), (8, "bf16"), (4, 8))
    # Weights of 8 bits are quicker than floats; of activations and attention the widest are as quick as any.
    table = {triple: 1.0 + 0.5 * (triple[0] == "bf16") for triple in triples(choices)}
    sizes = {"weights": 20_000.0, "activations": 0.0, "attention": -20.0}
    stated = problem(Cost(table, sizes), encoders=2, widths=choices)
    found = genes_to_keep(stated)
    assert found.bits == {
        f"encoder{i:02d}.{kind}": value
        for i in range(2)
        for kind, value in (("activations", "bf16"), ("attention", 8))
    }
    assert found.note.startswith(
        "activations and attention are kept at 8 bits, bfloat16 in 4 of 6 genes: at 4, 8 bits the model "
        "takes as long and has 160 bytes more"
    )
    assert stated.space.keeping(found.bits).sizes == (3, 3)
    assert kept_at_widest(stated, found.bits) == found


def test_where_no_format_pays_everything_is_searched_and_said() -> None:
    choices = Choices((8, "bf16"), (4, 8), (8,))
    table = dict.fromkeys(triples(choices), 1.0)
    spec = RunSpec(objectives=("top1", "latency"))
    found = genes_to_keep(problem(Cost(table, TABLES), spec, widths=choices))
    assert found.bits == {}
    assert found.note.startswith("no format narrower than the widest saves time, so that the model in the")


def test_kinds_that_are_held_take_their_width_in_every_comparison() -> None:
    # Attention pays beside four-bit activations alone.
    table = {bits: 1.0 - 0.5 * (bits[1:] == (4, 4)) for bits in triples((4, 8))}
    cost = Cost(table, TABLES)
    assert genes_to_keep(problem(cost, fixed=(("activations", 4),))).bits == {}
    held = genes_to_keep(problem(cost, fixed=(("activations", 8),))).bits
    assert set(held) == {f"encoder{i:02d}.attention" for i in range(12)}


def test_differences_within_the_noise_of_latencies_are_none() -> None:
    table = {bits: 1.0 - 0.02 * (bits[1] == 4) for bits in triples((4, 8))}
    kinds = {name.split(".")[1] for name in genes_to_keep(problem(Cost(table, TABLES))).bits}
    assert kinds == {"attention"}
    noisy = genes_to_keep(problem(Cost(table, TABLES, noise=0.01)))
    assert {name.split(".")[1] for name in noisy.bits} == {"activations", "attention"}
    assert "at 4 bits the model takes as long and has 2,880 bytes more" in noisy.note
    # Times that say nothing rule nothing out that they show to be quicker by a lot.
    quick = {bits: 1.0 - 0.5 * (bits[1] == 4) for bits in triples((4, 8))}
    assert genes_to_keep(problem(Cost(quick, TABLES, noise=5.0))).bits.keys() == {
        f"encoder{i:02d}.attention" for i in range(12)
    }


def test_differences_below_a_thousandth_of_the_size_are_none() -> None:
    few = {**TABLES, "attention": 1.0}
    assert len(genes_to_keep(problem(Cost(OPENVINO, few))).bits) == 24
    many = {**TABLES, "attention": 300.0}
    assert len(genes_to_keep(problem(Cost(OPENVINO, many))).bits) == 12


@pytest.mark.parametrize(
    ("objectives", "float_ms", "kept"),
    [
        # Bytes alone are traded off, and everything is faster than the float model.
        (("top1", "size"), 100.0, {"activations", "attention"}),
        # Eight-bit models are slower than it: narrow activations are needed to be admitted.
        (("top1", "size"), 20.0, set()),
        (("top1",), 100.0, set()),
    ],
)
def test_costs_count_that_are_traded_off_or_short(
    objectives: tuple[str, ...], float_ms: float, kept: set[str]
) -> None:
    # As modelled times: narrower is quicker, whatever it is.
    table = {bits: sum(bits) / 12 for bits in triples((4, 8))}
    spec = RunSpec(objectives=objectives)
    found = genes_to_keep(problem(Cost(table, TABLES), spec, float_ms=float_ms))
    assert {name.split(".")[1] for name in found.bits} == kept
    if kept:
        assert "at 4 bits the model has 2,880 bytes more;" in found.note


def test_where_nothing_pays_everything_is_searched_and_said() -> None:
    table = dict.fromkeys(triples((4, 8)), 1.0)
    spec = RunSpec(objectives=("top1", "latency"))
    found = genes_to_keep(problem(Cost(table, TABLES), spec))
    assert found.bits == {}
    assert found.note == (
        "no width below 8 bits saves time, so that the uniform 8-bit model is as good as any; all genes are "
        "searched all the same"
    )


def test_one_gene_for_an_encoder_pays_by_its_weights() -> None:
    assert genes_to_keep(problem(Cost(OPENVINO, TABLES), granularity="encoder")).bits == {}
    dear = {**TABLES, "weights": -1.0}
    stated = problem(Cost({**OPENVINO, (4, 4, 4): 0.9}, dear), granularity="encoder")
    assert genes_to_keep(stated).bits == {}


def test_layers_are_kept_one_by_one() -> None:
    found = genes_to_keep(problem(Cost(OPENVINO, TABLES), granularity="layer", encoders=2))
    assert len(found.bits) == 2 * 5
    assert not any(name.endswith("weights") for name in found.bits)


def test_what_is_kept_is_told_again_of_a_recorded_space() -> None:
    stated = problem(
        Cost(OPENVINO, TABLES), RunSpec(evaluation=EvaluationSpec(model="digits_deit", scheme="deploy"))
    )
    found = genes_to_keep(stated)
    assert kept_at_widest(stated, found.bits) == found
    assert kept_at_widest(stated, {}).note == ""


def test_limits_nearer_to_the_least_than_what_is_no_difference_are_searched_within() -> None:
    # Attention of 4 bits saves 4 bytes an encoder, below a thousandth of its size.
    few = {**TABLES, "attention": 1.0}
    cost, spec = Cost(OPENVINO, few), RunSpec(allow_slower=True, allow_larger=True, allow_uniform=True)
    assert len(genes_to_keep(problem(cost, spec)).bits) == 24
    least = cost.minimum_size_bytes(problem(cost, spec).space)
    tight = dataclasses.replace(spec, max_size=f"{least + 12}B")
    assert genes_to_keep(problem(cost, tight)).bits == {}
