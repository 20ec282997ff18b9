"""Search spaces: genes, genomes and the configurations they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from bitfront.spaces import (
    GRANULARITIES,
    KINDS,
    BitConfig,
    Choices,
    EncoderBits,
    EncoderLayers,
    Granularity,
    SearchSpace,
    UserError,
    parse_fixed,
)

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
ENCODERS = [EncoderLayers(i, f"blocks.{i}", LINEAR) for i in range(12)]


def space(
    granularity: str = "encoder-kind", widths: tuple[int, ...] = (4, 8), encoders: int = 12
) -> SearchSpace:
    return SearchSpace("m", "fq-vit", ENCODERS[:encoders], widths, granularity)  # type: ignore[arg-type]


@pytest.mark.parametrize(("granularity", "genes"), [("encoder", 12), ("encoder-kind", 36), ("layer", 108)])
def test_genes(granularity: str, genes: int) -> None:
    found = space(granularity)
    assert len(found) == len(found.genes) == len(set(found.gene_names)) == genes
    assert found.cardinality == 2**genes
    assert space(granularity, (2, 4, 8)).cardinality == 3**genes
    # Every width of the model is set by exactly one gene.
    slots = [slot for gene in found.genes for slot in gene.slots]
    assert len(slots) == len(set(slots)) == 12 * (4 + 4 + 1)


def test_gene_names() -> None:
    assert space("encoder").gene_names[:2] == ("encoder00", "encoder01")
    kinds = ("weights", "activations", "attention")
    assert space("encoder-kind").gene_names[:3] == tuple(f"encoder00.{kind}" for kind in kinds)
    assert set(space("layer").gene_names[:9]) == {
        "encoder00.attention",
        *(f"encoder00.{layer}.{kind}" for layer in LINEAR for kind in kinds[:2]),
    }


def test_decoding_an_encoder_kind_genome_by_hand() -> None:
    found = space("encoder-kind", (3, 5, 8), encoders=2)
    config = found.decode(np.array([0, 1, 2, 2, 0, 1]))
    assert config == BitConfig(
        "m", "fq-vit", (EncoderBits(0, "blocks.0", 3, 5, 8), EncoderBits(1, "blocks.1", 8, 3, 5))
    )
    assert found.bits(np.array([0, 1, 2, 2, 0, 1])) == {
        "encoder00.weights": 3,
        "encoder00.activations": 5,
        "encoder00.attention": 8,
        "encoder01.weights": 8,
        "encoder01.activations": 3,
        "encoder01.attention": 5,
    }


def test_decoding_a_layer_genome_by_hand() -> None:
    found = space("layer", encoders=1)
    genome = np.zeros(9, dtype=np.int64)
    genome[found.gene_names.index("encoder00.mlp.fc1.weights")] = 1
    genome[found.gene_names.index("encoder00.attention")] = 1
    encoder = found.decode(genome).encoders[0]
    assert {layer: encoder.bits("weights", layer) for layer in LINEAR} == {
        **dict.fromkeys(LINEAR, 4),
        "mlp.fc1": 8,
    }
    assert (encoder.activations, encoder.attention) == (4, 8)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("widths", [(4, 8), (2, 4, 8)])
def test_round_trip(granularity: str, widths: tuple[int, ...]) -> None:
    found = space(granularity, widths)
    genomes = found.sample(np.random.default_rng(0), 30)
    digests = set()
    for genome in genomes:
        config = found.decode(genome)
        assert (found.encode(config) == genome).all()
        assert (found.encode(BitConfig.from_json(config.to_json())) == genome).all()
        digests.add(config.digest)
    assert len(digests) == len(np.unique(genomes, axis=0))


def test_a_finer_space_holds_the_configurations_of_a_coarser_one() -> None:
    config = space("encoder").decode(np.arange(12) % 2)
    for granularity in GRANULARITIES:
        finer = space(granularity)
        assert finer.decode(finer.encode(config)) == config


def test_samples_are_uniform_and_the_seed_decides() -> None:
    found = space(widths=(2, 4, 8))
    first, again = (found.sample(np.random.default_rng(7), 500) for _ in range(2))
    assert first.shape == (500, 36)
    assert first.dtype == np.int64
    assert (first == again).all()
    assert (first != found.sample(np.random.default_rng(8), 500)).any()
    shares = np.bincount(first.ravel(), minlength=3) / first.size
    # 18,000 draws: four standard errors are 0.014.
    assert np.abs(shares - 1 / 3).max() < 0.014


@pytest.mark.parametrize(
    ("genome", "match"),
    [
        (np.zeros(35, dtype=np.int64), r"a genome has shape \(36,\), not \(35,\)"),
        (np.zeros((1, 36), dtype=np.int64), r"not \(1, 36\)"),
        (np.full(36, 2), r"indices from 0 to below \(2, 2"),
        (np.full(36, -1), r"indices from 0 to below \(2, 2"),
    ],
)
def test_other_genomes_are_refused(genome: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        space().decode(genome)
    with pytest.raises(ValueError, match=match):
        space().bits(genome)


def test_configurations_of_other_models_are_refused() -> None:
    config = space(encoders=3).decode(np.zeros(9, dtype=np.int64))
    with pytest.raises(UserError, match="has 3 encoders that do not match the 12 of m"):
        space().encode(config)


def test_configurations_outside_the_space_are_refused() -> None:
    layered = space("layer", encoders=1).decode(np.array([0, 1, 0, 0, 0, 0, 0, 0, 0]))
    with pytest.raises(UserError, match=r"encoder00.weights has 4, 8 bits; space encoder-kind takes one of"):
        space("encoder-kind", encoders=1).encode(layered)
    with pytest.raises(UserError, match=r"has 4 bits; space encoder-kind takes one of 2, 8 bits"):
        space(widths=(2, 8)).encode(BitConfig.uniform("m", "fq-vit", ENCODERS, (8, 8, 4)))


def test_spaces_that_leave_no_choice_are_refused() -> None:
    with pytest.raises(
        UserError, match="unknown search space 'block': choose one of encoder, encoder-kind, layer"
    ):
        space("block")
    with pytest.raises(UserError, match="--bits 8: a search needs at least two widths"):
        space(widths=(8,))
    with pytest.raises(UserError, match="--bits 8: a search needs at least two widths"):
        space(widths=(8, 8))
    with pytest.raises(UserError, match="no encoders"):
        space(encoders=0)


def test_held_kinds_have_no_genes_and_their_width_everywhere() -> None:
    found = SearchSpace("m", "fq-vit", ENCODERS[:2], (4, 8), "layer", parse_fixed("A8T4"))
    assert {slot.kind for gene in found.genes for slot in gene.slots} == {"weights"}
    assert len(found) == 2 * len(LINEAR)
    config = found.decode(np.zeros(len(found), dtype=np.int64))
    assert [(e.weights, e.activations, e.attention) for e in config.encoders] == [(4, 8, 4)] * 2
    assert found.encode(config).tolist() == [0] * 8
    with pytest.raises(UserError, match=r"has activations of 4 bits in encoder 0; this space fixes 8"):
        found.encode(BitConfig.uniform("m", "fq-vit", ENCODERS[:2], (4, 4, 4)))


@pytest.mark.parametrize(
    ("granularity", "hold", "problem"),
    [("encoder", "A8", "fix kinds in space encoder-kind"), ("layer", "A6", "cannot be fixed at 6 bits")],
)
def test_kinds_that_cannot_be_held_are_refused(granularity: str, hold: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        SearchSpace("m", "fq-vit", ENCODERS[:1], (4, 8), granularity, parse_fixed(hold))  # type: ignore[arg-type]


def test_kept_genes_are_no_genes_and_have_their_width_everywhere() -> None:
    whole = SearchSpace("m", "fq-vit", ENCODERS[:2], (4, 8))
    kept = {f"encoder{i:02d}.attention": 8 for i in range(2)}
    found = whole.keeping(kept)
    assert (whole.kept, found.kept, len(found)) == ({}, kept, 4)
    config = found.decode(np.zeros(4, dtype=np.int64))
    assert [(e.weights, e.activations, e.attention) for e in config.encoders] == [(4, 4, 8)] * 2
    assert found.encode(config).tolist() == [0] * 4
    one = whole.keeping({"encoder01.weights": 4})
    assert one.keeping(kept).kept == {"encoder01.weights": 4, **kept}
    assert one.decode(np.ones(5, dtype=np.int64)).encoders[1].weights == 4
    with pytest.raises(UserError, match=r"has weights of 8 bits in encoder 1; this space fixes 4"):
        one.encode(BitConfig.uniform("m", "fq-vit", ENCODERS[:2], (8, 8, 8)))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({"encoder02.weights": 8}, "encoder02.weights cannot be kept at 8 bits: the space has no such gene"),
        ({"encoder00.weights": 6}, "cannot be kept at 6 bits"),
        ({"encoder00": 8, "encoder01": 8}, "all 2 genes would be kept at one width"),
    ],
)
def test_genes_that_cannot_be_kept_are_refused(kept: dict[str, int], expected: str) -> None:
    granularity = "encoder" if "encoder00" in kept else "encoder-kind"
    with pytest.raises(UserError, match=expected):
        SearchSpace("m", "fq-vit", ENCODERS[:2], (4, 8), granularity).keeping(kept)


UNEVEN = Choices((4, 8, "bf16"), (8, "bf16"), (8,))


def test_kinds_may_have_formats_of_their_own() -> None:
    found = SearchSpace("m", "deploy", ENCODERS[:2], UNEVEN)
    assert found.gene_names == tuple(f"encoder{i:02d}.{kind}" for i in range(2) for kind in KINDS[:2])
    assert (found.sizes, found.widest, found.cardinality) == ((3, 2, 3, 2), (2, 1, 2, 1), 36)
    assert (found.widths, found.held, found.fixed) == ((4, 8, "bf16"), {"attention": 8}, {})
    genome = np.array([2, 1, 0, 0])
    config = found.decode(genome)
    assert [(e.weights, e.activations) for e in config.encoders] == [("bf16", "bf16"), (4, 8)]
    assert [e.attention for e in config.encoders] == [8, 8]
    assert found.encode(config).tolist() == genome.tolist()
    assert list(found.bits(genome).values()) == ["bf16", "bf16", 4, 8]
    with pytest.raises(ValueError, match="indices from 0 to below"):
        found.decode(np.array([0, 2, 0, 0]))
    with pytest.raises(UserError, match="has 4 bits; space encoder-kind takes one of 8 bits, bfloat16"):
        found.encode(BitConfig.uniform("m", "deploy", ENCODERS[:2], (4, 4, 8)))


def test_samples_of_uneven_genes_are_uniform() -> None:
    found = SearchSpace("m", "deploy", ENCODERS[:2], UNEVEN).sample(np.random.default_rng(0), 6000)
    assert found.max(0).tolist() == [2, 1, 2, 1]
    for gene, size in enumerate((3, 2, 3, 2)):
        # Four standard errors of a share of 6,000 draws are at most 0.026.
        assert np.abs(np.bincount(found[:, gene]) / 6000 - 1 / size).max() < 0.026


def test_samples_of_even_genes_are_those_of_one_bound() -> None:
    even = space(widths=(2, 4, 8))
    one = np.random.default_rng(5).integers(3, size=(40, 36), dtype=np.int64)
    assert (even.sample(np.random.default_rng(5), 40) == one).all()


def test_uneven_genes_are_kept_at_their_own_formats() -> None:
    whole = SearchSpace("m", "deploy", ENCODERS[:2], UNEVEN)
    found = whole.keeping({"encoder00.weights": "bf16"})
    assert found.sizes == (2, 3, 2)
    assert found.decode(np.zeros(3, dtype=np.int64)).encoders[0].weights == "bf16"
    with pytest.raises(UserError, match="cannot be kept at 4 bits: choose among 8, bf16"):
        whole.keeping({"encoder00.activations": 4})


@pytest.mark.parametrize(
    ("choices", "granularity", "problem"),
    [
        (UNEVEN, "encoder", "search kinds with formats of their own in space encoder-kind or layer"),
        (Choices((8,), (8,), ("bf16",)), "layer", "a search needs at least two formats of a kind"),
    ],
)
def test_formats_that_a_space_cannot_search_are_refused(
    choices: Choices, granularity: Granularity, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        SearchSpace("m", "deploy", ENCODERS[:2], choices, granularity)


def test_a_kind_is_held_at_one_of_its_own_formats() -> None:
    found = SearchSpace("m", "deploy", ENCODERS[:2], UNEVEN, fixed=parse_fixed("Abf16"))
    assert (len(found), found.held) == (2, {"activations": "bf16", "attention": 8})
    with pytest.raises(UserError, match="activations cannot be fixed at 4 bits: choose among 8, bf16"):
        SearchSpace("m", "deploy", ENCODERS[:2], UNEVEN, fixed=parse_fixed("A4"))
