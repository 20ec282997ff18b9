"""What a model costs, in words."""

from __future__ import annotations

import math

import pytest

from bitfront.search.problem.wording import Difference, against_float

NONE = Difference(math.nan)


@pytest.mark.parametrize(
    ("found", "unit", "share", "speed", "words"),
    [
        (
            Difference(-0.4, 0.5),
            "%",
            0.1667,
            2.7,
            "-0.4 ± 0.5 points, a sixth of the size, 2.7 times as fast",
        ),
        (
            Difference(-0.42, 0.05),
            "%",
            0.125,
            1.96,
            "-0.42 ± 0.05 points, an eighth of the size, twice as fast",
        ),
        (Difference(1.0), "%", 0.5, 0.5, "+1.0 points, half the size, twice as slow"),
        (Difference(-0.0123, 0.004), "", 0.29, 1.01, "-0.0123 ± 0.0040, 29 % of the size, just as fast"),
        (NONE, "%", 1.01, 15.6, "the same size, 16 times as fast"),
        (None, "%", math.nan, 1 / 1.5, "1.5 times as slow"),
        (None, "%", 1.5, math.nan, "1.5 times the size"),
        (None, "%", math.nan, math.nan, ""),
    ],
)
def test_what_a_model_costs(
    found: Difference | None, unit: str, share: float, speed: float, words: str
) -> None:
    assert against_float(found, unit, share, speed) == words


def test_latencies_within_their_noise_are_as_fast_and_modelled_ones_are_called_so() -> None:
    assert against_float(None, "%", math.nan, 1.08) == "1.1 times as fast"
    assert against_float(None, "%", math.nan, 1.08, noise=0.1) == "just as fast"
    assert against_float(None, "%", math.nan, 3.0, modelled=True) == "modelled 3.0 times as fast"
