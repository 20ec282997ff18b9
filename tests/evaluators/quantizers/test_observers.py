"""Observers against hand values, numpy and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from evaluator_contracts import RangeObserverContract
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.observers import RangeObserver, TensorStatistics
from bitfront.evaluators.quantizers.registry import OBSERVERS, observer_named
from bitfront.spaces import BitfrontError, UserError


def statistics_of(*batches: NDArray[np.float64], site: str = "blocks.0.mlp.gelu") -> TensorStatistics:
    statistics = TensorStatistics(site)
    for batch in batches:
        statistics.observe_range(torch.from_numpy(batch).float())
    for batch in batches:
        statistics.observe_histogram(torch.from_numpy(batch).float())
    return statistics


def squared_error(x: NDArray[np.float64], low: float, high: float, bits: int) -> float:
    """True squared error of an affine grid over the values themselves."""
    low, high = min(low, 0.0), max(high, 0.0)
    qmax = 2**bits - 1
    scale = (high - low) / qmax
    zero = np.rint(-low / scale)
    restored = (np.clip(np.rint(x / scale) + zero, 0, qmax) - zero) * scale
    return float(((restored - x) ** 2).sum())


@pytest.fixture(scope="module")
def heavy_tailed() -> NDArray[np.float64]:
    values = np.random.default_rng(0).standard_t(3, 40_000) * 0.7 + 0.2
    return values.astype(np.float32).astype(np.float64)


def test_statistics_cover_all_batches() -> None:
    first, second = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 5.0])
    statistics = statistics_of(first, second)
    assert (statistics.low, statistics.high) == (-1.0, 5.0)
    assert statistics.counts.sum() == 5
    expected, edges = np.histogram(np.concatenate([first, second]), len(statistics.counts), (-1.0, 5.0))
    assert (statistics.counts == expected).all()
    np.testing.assert_allclose(statistics.centres, (edges[1:] + edges[:-1]) / 2)


def test_min_max() -> None:
    statistics = statistics_of(np.array([3.0, -7.0]), np.array([4.5, 0.0]))
    assert observer_named("minmax").range(statistics, 4) == (-7.0, 4.5)


def test_moving_averages_by_hand() -> None:
    statistics = statistics_of(np.array([-1.0, 10.0]), np.array([-3.0, 20.0]), np.array([-2.0, 0.0]))
    low, high = observer_named("ema").range(statistics, 8)
    # 0.9 * (0.9 * -1 + 0.1 * -3) + 0.1 * -2 and 0.9 * (0.9 * 10 + 0.1 * 20) + 0.1 * 0
    assert low == pytest.approx(-1.28)
    assert high == pytest.approx(9.9)


def test_percentile_is_numpys_within_a_bin(heavy_tailed: NDArray[np.float64]) -> None:
    statistics = statistics_of(*np.split(heavy_tailed, 4))
    low, high = observer_named("percentile").range(statistics, 8)
    width = (statistics.high - statistics.low) / len(statistics.counts)
    wanted = np.quantile(heavy_tailed, [0.00005, 0.99995], method="inverted_cdf")
    assert low <= wanted[0] <= low + width
    assert high - width <= wanted[1] <= high
    assert statistics.low < low < high < statistics.high


def test_percentile_of_one_sided_values_keeps_zero() -> None:
    values = np.concatenate([np.zeros(5000), np.random.default_rng(1).random(5000)])
    low, high = observer_named("percentile").range(statistics_of(values), 8)
    assert low == 0.0
    assert high == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("bits", "share_of_min_max"), [(3, 0.3), (4, 0.3), (8, 0.95)])
def test_omse_is_near_the_best_range(
    heavy_tailed: NDArray[np.float64], bits: int, share_of_min_max: float
) -> None:
    statistics = statistics_of(heavy_tailed[:15_000], heavy_tailed[15_000:])
    low, high = observer_named("omse").range(statistics, bits)
    found = squared_error(heavy_tailed, low, high, bits)
    shares = np.linspace(0.02, 1.0, 50)
    best = min(
        squared_error(heavy_tailed, statistics.low * a, statistics.high * b, bits)
        for a, b in itertools.product(shares, shares)
    )
    assert found <= 1.05 * best
    full = squared_error(heavy_tailed, statistics.low, statistics.high, bits)
    assert found < share_of_min_max * full


def test_omse_of_positive_values_starts_at_zero() -> None:
    values = np.random.default_rng(2).exponential(1.0, 10_000) + 0.5
    low, high = observer_named("omse").range(statistics_of(values), 4)
    assert low == 0.0
    assert 1.0 < high < values.max()


@pytest.mark.parametrize(
    ("site", "bits", "rule"),
    [
        ("blocks.3.norm1", 8, "minmax"),
        ("blocks.3.norm2", 7, "minmax"),
        ("norm", 8, "minmax"),
        ("norm_tokens", 8, "minmax"),
        ("blocks.3.norm1", 4, "percentile"),
        ("blocks.3.norm2", 6, "percentile"),
        ("blocks.3.attn.softmax", 8, "percentile"),
        ("blocks.3.attn.softmax", 4, "percentile"),
        ("blocks.3.attn.qkv", 8, "omse"),
        ("blocks.3.mlp.gelu", 4, "omse"),
        ("image", 8, "omse"),
    ],
)
def test_rules_of_auto(heavy_tailed: NDArray[np.float64], site: str, bits: int, rule: str) -> None:
    statistics = statistics_of(heavy_tailed, site=site)
    ranges = {name: observer_named(name).range(statistics, bits) for name in ("minmax", "percentile", "omse")}
    assert len(set(ranges.values())) == 3
    assert observer_named("auto").range(statistics, bits) == ranges[rule]


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
def test_constant_tensors_have_a_range_that_holds_them(name: str, value: float) -> None:
    low, high = observer_named(name).range(statistics_of(np.full(10, value)), 8)
    assert min(low, 0.0) <= value <= max(high, 0.0)
    assert math.isfinite(low)
    assert math.isfinite(high)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    statistics = TensorStatistics("blocks.7.norm2")
    with pytest.raises(BitfrontError, match=r"NaN or infinity at blocks\.7\.norm2") as caught:
        statistics.observe_range(torch.tensor([1.0, value, 2.0]))
    assert "\n" not in str(caught.value)


def test_unknown_observers_are_refused() -> None:
    with pytest.raises(
        UserError, match="unknown observer 'mse': choose one of auto, minmax, ema, percentile, omse"
    ):
        observer_named("mse")


class TestContract(RangeObserverContract):
    @pytest.fixture(params=OBSERVERS)
    def observer(self, request: pytest.FixtureRequest) -> RangeObserver:
        return observer_named(request.param)


@pytest.mark.parametrize("bits", [4, 8])
def test_sigma_ranges_of_norms_reach_as_far_as_fits_best(
    heavy_tailed: NDArray[np.float64], bits: int
) -> None:
    statistics = statistics_of(heavy_tailed, site="blocks.0.norm1")
    low, high = observer_named("sigma").range(statistics, bits)
    largest, sigma = np.abs(heavy_tailed).max(), heavy_tailed.std()
    delta = (max(high, -low) - largest) / sigma
    assert delta == pytest.approx(round(4 * delta) / 4, abs=0.02)
    errors = [
        squared_error(heavy_tailed, max(-reach, heavy_tailed.min()), min(reach, heavy_tailed.max()), bits)
        for step in range(-120, 1)
        if (reach := largest + step / 4 * sigma) > 0
    ]
    assert squared_error(heavy_tailed, low, high, bits) <= 1.02 * min(errors)


def test_sigma_ranges_of_others_are_whole(heavy_tailed: NDArray[np.float64]) -> None:
    statistics = statistics_of(heavy_tailed, site="blocks.0.mlp.gelu")
    assert observer_named("sigma").range(statistics, 4) == (statistics.low, statistics.high)
