"""Genomes as 0/1 vectors, where genes have as many choices as one another and where they have not."""

from __future__ import annotations

import numpy as np
import pytest

from bitfront.spaces.genomes import gene_table, narrow_choices, narrowed


def test_narrow_choices_of_genes() -> None:
    assert narrow_choices((3, 2, 3)).tolist() == [[True, True], [True, False], [True, True]]
    assert narrow_choices(()).shape == (0, 0)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3, 3), (4, 2, 3)])
def test_vectors_are_one_hot_but_for_the_widest(sizes: tuple[int, ...]) -> None:
    genomes = np.random.default_rng(0).integers(sizes, size=(50, len(sizes)))
    found = narrowed(genomes, sizes)
    expected = [
        [index == choice for index, size in zip(row, sizes, strict=True) for choice in range(size - 1)]
        for row in genomes
    ]
    assert found.tolist() == expected


def test_tables_have_no_number_where_a_gene_has_no_such_choice() -> None:
    assert np.isnan(gene_table((3, 1, 2))).tolist() == [
        [False, False, False],
        [False, True, True],
        [False, False, True],
    ]
