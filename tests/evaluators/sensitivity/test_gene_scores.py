"""Gradient scores of genes: quadratic predictions, their moments, and their document."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from evaluator_contracts import ScoresContract

from bitfront.evaluators.sensitivity.gene_scores import GeneScores, scores_of, shrunk_moments
from bitfront.evaluators.sensitivity.projections import Projections, State
from bitfront.spaces import FORMATS, Choices, EncoderLayers, SearchSpace, UserError

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
ENCODERS = tuple(EncoderLayers(index, f"blocks.{index}", LINEAR) for index in range(2))
IMAGES = 30


UNEVEN = Choices((4, 8, "int8a", "bf16"), (8, "bf16"), (8,))


def projected(widths: tuple[int, ...] | Choices, seed: int = 0) -> Projections:
    """Random projections, greater at fewer bits."""
    rng, choices = np.random.default_rng(seed), widths
    choices = widths if isinstance(widths, Choices) else Choices.alike(widths)
    states = [
        State(index, layer, formats)
        for index in range(2)
        for layer in LINEAR
        for formats in itertools.product(choices.weights, choices.activations)
    ] + [State(index, "attn", (value,)) for index in range(2) for value in choices.attention]

    def spread(state: State) -> float:
        return 2.0 ** -min(FORMATS[value].bits for value in state.bits)

    return Projections({s: rng.normal(size=(IMAGES, 2)) * spread(s) for s in states})


def space(widths: tuple[int, ...] | Choices, granularity: Any = "encoder-kind") -> SearchSpace:
    return SearchSpace("m", "fq-vit", ENCODERS, widths, granularity)


def test_one_narrow_gene_has_the_divergence_of_its_configuration() -> None:
    projections, searched = projected((4, 6, 8)), space((4, 6, 8), "layer")
    scores = scores_of(projections, searched)
    widest = np.full(len(searched), 2)
    for gene, index in ((0, 0), (0, 1), (5, 0), (17, 1)):
        genome = widest.copy()
        genome[gene] = index
        exact = projections.divergence(searched.decode(genome), searched.decode(widest))
        assert scores.predicted_kl(genome[None])[0] == pytest.approx(exact)
        assert scores.additive[gene, index] == pytest.approx(exact)
    assert scores.predicted_kl(widest[None])[0] == 0.0
    assert not scores.additive[:, 2].any()
    assert scores.names == searched.gene_names


@pytest.mark.parametrize("granularity", ["encoder-kind", "layer"])
def test_genes_have_choices_of_their_own(granularity: str) -> None:
    projections, searched = projected(UNEVEN), space(UNEVEN, granularity)
    scores = scores_of(projections, searched)
    assert scores.sizes == searched.sizes
    widest = np.array(searched.widest)
    for gene, size in enumerate(searched.sizes):
        for index in range(size - 1):
            genome = widest.copy()
            genome[gene] = index
            exact = projections.divergence(searched.decode(genome), searched.decode(widest))
            assert scores.additive[gene, index] == pytest.approx(exact)
            assert scores.predicted_kl(genome[None])[0] == pytest.approx(exact)
    read = GeneScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert (read.names, read.choices) == (scores.names, scores.choices)
    np.testing.assert_array_equal(read.moments, scores.moments)


def test_parts_of_a_gene_count_together() -> None:
    projections, searched = projected((4, 8)), space((4, 8), "encoder")
    scores = scores_of(projections, searched)
    narrow = projections.divergence(searched.decode(np.array([0, 1])), searched.decode(np.array([1, 1])))
    assert scores.additive[0, 0] == pytest.approx(narrow)


def test_predictions_are_the_quadratic_form() -> None:
    moments = np.array([[2.0, 0.5, -0.25], [0.5, 1.0, 0.0], [-0.25, 0.0, 3.0]])
    scores = GeneScores(("a", "b", "c"), ((4, 8),) * 3, moments)
    genomes = np.array(list(itertools.product((0, 1), repeat=3)))
    expected = [(1 - g) @ moments @ (1 - g) for g in genomes]
    np.testing.assert_allclose(scores.predicted_kl(genomes), expected)
    assert GeneScores(("a", "b"), ((4, 8),) * 2, np.array([[1.0, -2.0], [-2.0, 1.0]])).predicted_kl(
        np.zeros((1, 2), dtype=np.int64)
    ) == [0.0]


def test_chance_is_taken_out_of_products_and_what_is_real_stays() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(40, 64, 2))
    moments = shrunk_moments(alone)
    raw = np.einsum("imk,jmk->ij", alone, alone) / 64 / 2
    off = ~np.eye(40, dtype=bool)
    np.testing.assert_allclose(moments.diagonal(), raw.diagonal())
    assert np.abs(moments[off]).mean() < 0.25 * np.abs(raw[off]).mean()
    together = shrunk_moments(rng.normal(size=(1, 64, 2)) + 0.3 * alone)
    assert together[off].min() > 0.7 * together.diagonal().min()
    for found in (moments, together):
        assert np.linalg.eigvalsh(found).min() > -1e-9


def test_documents_are_read_back_exactly() -> None:
    scores = scores_of(projected((4, 6, 8)), space((4, 6, 8)))
    read = GeneScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert (read.names, read.choices) == (scores.names, scores.choices)
    np.testing.assert_array_equal(read.moments, scores.moments)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "other"}, "not gene scores"),
        ({"version": 2}, "version"),
        ({"genes": []}, '"genes"'),
        ({"widths": [8, 4]}, "ascend"),
        ({"widths": ["4", "8"]}, '"widths"'),
        ({"widths": [4, "bf17"]}, '"widths"'),
        ({"widths": [["bf16", 4]] * 2}, "ascend"),
        ({"widths": [[4, 8]] * 3}, '"widths"'),
        ({"widths": []}, '"widths"'),
        ({"moments": [[1.0], [0.0]]}, "lower triangle"),
        ({"moments": [[1.0], [0.0, "x"]]}, "lower triangle"),
        ({"moments": [[1.0], [0.0, -1.0]]}, "not negative"),
        ({"moments": [[1.0], [float("nan"), 1.0]]}, "finite"),
        ({"moments": [[1.0], [0, 10**400]]}, "too large"),
    ],
)
def test_other_documents_are_refused(change: dict[str, Any], named: str) -> None:
    document = GeneScores(("a", "b"), ((4, 8),) * 2, np.eye(2)).to_json()
    with pytest.raises(UserError, match=named):
        GeneScores.from_json({**document, **change})


class TestContract(ScoresContract):
    @pytest.fixture(params=["encoder", "encoder-kind", "layer", UNEVEN])
    def space(self, request: pytest.FixtureRequest) -> SearchSpace:
        return space(UNEVEN) if request.param is UNEVEN else space((4, 6, 8), request.param)

    @pytest.fixture
    def scores(self, space: SearchSpace) -> GeneScores:
        return scores_of(projected(space.choices), space)
