"""Standard errors and the paired comparison, against scipy and simulated experiments."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from bitfront.evaluators.context.significance import PairedComparison, standard_error


@pytest.mark.parametrize(
    ("lost", "won"), [(1, 0), (0, 5), (6, 6), (6, 7), (13, 4), (40, 90), (1000, 1100), (30_000, 29_500)]
)
def test_p_value_is_that_of_the_binomial_test(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won, 0.5).pvalue
    assert PairedComparison(100_000, lost, won).mcnemar_p == pytest.approx(expected, rel=1e-9)
    assert PairedComparison(100_000, won, lost).mcnemar_p == pytest.approx(expected, rel=1e-9)


def test_models_that_never_differ() -> None:
    same = PairedComparison(500, 0, 0)
    assert (same.difference, same.difference_standard_error, same.mcnemar_p) == (0.0, 0.0, 1.0)


def test_models_that_differ_everywhere() -> None:
    worse = PairedComparison(20, 20, 0)
    assert (worse.difference, worse.difference_standard_error) == (-100.0, 0.0)
    assert worse.mcnemar_p == pytest.approx(2 * 0.5**20)


def test_standard_errors_are_the_spread_of_repeated_experiments() -> None:
    # Of 400 images, each is lost with 8 %, won with 5 % and right in both with 70 %.
    counts = np.random.default_rng(0).multinomial(400, [0.08, 0.05, 0.70, 0.17], size=20_000)
    differences = 100.0 * (counts[:, 1] - counts[:, 0]) / 400
    top1 = 100.0 * (counts[:, 1] + counts[:, 2]) / 400
    paired = PairedComparison(400, 32, 20)
    assert paired.difference == pytest.approx(differences.mean(), abs=0.05)
    assert paired.difference_standard_error == pytest.approx(differences.std(), rel=0.02)
    assert standard_error(75.0, 400) == pytest.approx(top1.std(), rel=0.02)


def test_reading_a_front_needs_no_torch() -> None:
    code = "import sys, bitfront.search.reports.front_rows; print(*({'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not done.stdout.split()
