"""Columns: the space tells which are genes; a table alone tells it for runs without one."""

from __future__ import annotations

import pytest

from bitfront.search.runs.columns import gene_columns, gene_columns_named, mean_bits
from bitfront.spaces import EncoderLayers, Granularity, SearchSpace


def test_gene_columns_of_every_granularity_without_a_recorded_space() -> None:
    names = [
        "top1",
        "encoder03",
        "encoder00.weights",
        "encoder11.attn.qkv.activations",
        "violation.encoder00",
    ]
    genes = gene_columns_named(names)
    assert [(g.encoder, g.layer, g.kind) for g in genes] == [
        (3, None, None),
        (0, None, "weights"),
        (11, "attn.qkv", "activations"),
    ]


@pytest.mark.parametrize("granularity", ["encoder", "encoder-kind", "layer"])
@pytest.mark.parametrize("held", [(), (("attention", 8),)])
def test_the_space_tells_what_its_columns_do(granularity: Granularity, held: tuple) -> None:
    if held and granularity == "encoder":
        return
    layers = [EncoderLayers(i, f"blocks.{i}", ("attn.qkv", "mlp.fc1")) for i in range(2)]
    space = SearchSpace("m", "fq-vit", layers, (4, 8), granularity, held)
    assert gene_columns(space) == gene_columns_named(space.gene_names)
    assert [gene.name for gene in gene_columns(space)] == list(space.gene_names)


def test_mean_bits_count_a_shared_gene_for_every_kind() -> None:
    genes = gene_columns_named(["encoder00", "encoder01.weights"])
    bits = mean_bits({"encoder00": 4, "encoder01.weights": 8}, genes)
    assert bits == (6.0, 4.0, 4.0)
