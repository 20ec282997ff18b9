"""Assignments by thresholds: which genes are narrow, and the path from the widest to the narrowest."""

from __future__ import annotations

import numpy as np
import pytest

from bitfront.evaluators.sensitivity.thresholds import Staircase, assigned, halving, quantile_thresholds
from bitfront.spaces import UserError

VALUES = np.array([0.4, 0.1, 0.3, 0.2])


def test_each_gene_has_the_narrowest_width_whose_threshold_it_does_not_exceed() -> None:
    assert assigned(VALUES, (0.2,)) == (1, 0, 1, 0)
    assert assigned(VALUES, (0.1, 0.3)) == (2, 0, 1, 1)
    assert assigned(VALUES, (-np.inf, np.inf)) == (1, 1, 1, 1)
    # Genes of two formats know the high threshold alone.
    assert assigned(VALUES, (0.1, 0.3), (3, 3, 2, 2)) == (2, 0, 0, 0)


def test_thresholds_leave_such_shares_of_the_genes_below() -> None:
    low, high = quantile_thresholds(VALUES, (0.25, 0.75), 3)
    assert (low, high) == (0.1, 0.3)
    assert assigned(VALUES, quantile_thresholds(VALUES, (0.0, 1.0), 3)) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("shares", "words"),
    [((0.5,), "1 shares for 3 widths"), ((0.7, 0.3), "ascending"), ((0.5, 2.0), "0 to 1")],
)
def test_other_shares_are_refused(shares: tuple[float, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        quantile_thresholds(VALUES, shares, 3)


def test_a_staircase_narrows_the_least_sensitive_first() -> None:
    path = Staircase(VALUES, (1, 1, 1, 1))
    assert [path[steps] for steps in range(len(path))] == [
        (1, 1, 1, 1),
        (1, 0, 1, 1),
        (1, 0, 1, 0),
        (1, 0, 0, 0),
        (0, 0, 0, 0),
    ]
    with pytest.raises(IndexError):
        path[5]


def test_thresholds_of_three_widths_stay_apart_and_every_step_is_such_an_assignment() -> None:
    path = Staircase(VALUES, (2, 2, 2, 2))
    assert len(path) == 9
    assert path[3] == (2, 1, 1, 1)  # the first narrowing of half of the genes comes before any second
    assert path[4] == (2, 0, 1, 1)
    for steps in range(len(path)):
        genome = path[steps]
        order = [genome[gene] for gene in np.argsort(VALUES)]
        assert order == sorted(order)
        assert sum(genome) == 8 - steps
    straight = Staircase(VALUES, (2, 2, 2, 2), lead=0.0)
    assert straight[2] == (2, 0, 2, 2)


def test_a_part_of_the_genes_is_narrowed_from_any_base() -> None:
    path = Staircase(VALUES[[0, 2]], (1, 0, 2, 1), genes=(0, 2), lead=0.0)
    assert [path[steps] for steps in range(len(path))] == [
        (1, 0, 2, 1),
        (1, 0, 1, 1),
        (1, 0, 0, 1),
        (0, 0, 0, 1),
    ]


def test_halving_takes_all_of_them_ends_first() -> None:
    assert halving(9)[:5] == [0, 8, 4, 2, 6]
    for count in range(12):
        assert sorted(halving(count)) == list(range(count))
