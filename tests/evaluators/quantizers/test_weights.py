"""Weight quantization against its formulas, a brute-force scale search and a plain GPTQ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitfront.evaluators.quantizers.weights import GROUP, QuantizedWeight, largest_factor, quantize_weight
from bitfront.spaces import UserError

BITS = (2, 3, 4, 8)


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    """24 channels of very different size, some with outliers."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(24, 150, generator=generator) * torch.logspace(-3, 1, 24)[:, None]
    values[::3, 5] *= 6
    return values


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    """Correlated inputs ``[rows, 150]``, as activations are."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(12, 150, generator=generator)
    return torch.randn(800, 12, generator=generator) @ mixing + 0.3 * torch.randn(
        800, 150, generator=generator
    )


def restored(found: QuantizedWeight) -> torch.Tensor:
    return found.codes.double() * found.scales.double()[:, None]


def channel_errors(weight: torch.Tensor, found: QuantizedWeight) -> np.ndarray:
    return ((restored(found) - weight.double()) ** 2).sum(1).numpy()


@pytest.mark.parametrize("bits", BITS)
def test_min_max_follows_the_formula(weight: torch.Tensor, bits: int) -> None:
    found = quantize_weight(weight, bits, "minmax")
    qmax = 2 ** (bits - 1) - 1
    values = weight.double().numpy()
    scales = np.abs(values).max(1) / qmax
    np.testing.assert_allclose(found.scales.numpy(), scales, rtol=1e-6)
    assert found.codes.dtype == torch.int8
    assert found.bits == bits
    assert (found.codes.abs().amax(1) == qmax).all()
    assert (np.abs(restored(found).numpy() - values) <= scales[:, None] / 2 * 1.00001).all()


@pytest.mark.parametrize("bits", BITS)
def test_squared_error_ranges_are_near_the_best(weight: torch.Tensor, bits: int) -> None:
    found = quantize_weight(weight, bits, "mse")
    errors = channel_errors(weight, found)
    full = quantize_weight(weight, bits, "minmax")
    assert (errors <= channel_errors(weight, full) * 1.00001).all()
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values = weight.double().numpy()
    best = np.full(len(values), np.inf)
    for share in np.linspace(0.3, 1.0, 400):
        scales = (np.abs(values).max(1) / qmax * share)[:, None]
        codes = np.clip(np.rint(values / scales), qmin, qmax)
        best = np.minimum(best, ((codes * scales - values) ** 2).sum(1))
    # Many shares are nearly as good for wide codes; which of them is best is luck.
    assert (errors <= (1.02 if bits < 8 else 1.25) * best).all()
    assert errors.sum() <= 1.05 * best.sum()


@pytest.mark.parametrize("bits", [3, 4])
def test_clipping_pays_for_narrow_codes(weight: torch.Tensor, bits: int) -> None:
    least, full = (quantize_weight(weight, bits, ranges) for ranges in ("mse", "minmax"))
    assert np.median(channel_errors(weight, least) / channel_errors(weight, full)) < 0.85


def test_channels_of_zeros_stay_zeros() -> None:
    weight = torch.zeros(3, 8)
    weight[1] = torch.arange(8)
    for ranges in ("mse", "minmax"):
        found = quantize_weight(weight, 4, ranges)
        assert found.scales.isfinite().all()
        assert (found.scales > 0).all()
        assert (found.codes[[0, 2]] == 0).all()
        assert (found.codes[1] != 0).any()


def test_unknown_ranges_are_refused(weight: torch.Tensor) -> None:
    with pytest.raises(UserError, match="unknown weight ranges 'max': choose one of mse, minmax"):
        quantize_weight(weight, 4, "max")


def plain_gptq(weight: np.ndarray, steps: np.ndarray, bits: int, hessian: np.ndarray) -> np.ndarray:
    """One input at a time, eliminating it from the inverse Hessian (Frantar et al., section 3).

    Steps are those of every weight, ``[out, in]``.
    """
    order = np.argsort(-np.diag(hessian), kind="stable")
    damped = hessian[np.ix_(order, order)] + 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    inverse = np.linalg.inv(damped)
    remaining, codes = weight[:, order].copy(), np.empty_like(weight)
    for i in range(len(order)):
        step = steps[:, order[i]]
        code = np.clip(np.rint(remaining[:, i] / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        codes[:, order[i]] = code
        error = (remaining[:, i] - code * step) / inverse[i, i]
        remaining[:, i:] -= np.outer(error, inverse[i, i:])
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return codes


def steps_of(found: QuantizedWeight, inputs: int) -> torch.Tensor:
    """Step of every weight, ``[out, in]``, where codes are those that are stored."""
    groups = -(-inputs // GROUP)
    factors = torch.ones(len(found.scales), groups) if found.factors is None else found.factors
    return found.scales.double()[:, None] * factors.repeat_interleave(GROUP, 1)[:, :inputs].double()


def stored(found: QuantizedWeight) -> torch.Tensor:
    """Codes as they are stored, ``[out, in]``."""
    if found.factors is None:
        return found.codes.long()
    factors = found.factors.long().repeat_interleave(GROUP, 1)[:, : found.codes.shape[1]]
    assert bool((found.codes % factors == 0).all())
    return found.codes // factors


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("ranges", ["mse", "minmax"])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_compensated_rounding_is_gptq(
    weight: torch.Tensor, inputs: torch.Tensor, bits: int, ranges: str, grouped: bool
) -> None:
    hessian = inputs.T @ inputs / len(inputs)
    found = quantize_weight(weight, bits, ranges, hessian, grouped=grouped)
    steps = steps_of(found, 150).numpy()
    expected = plain_gptq(weight.double().numpy(), steps, bits, hessian.double().numpy())
    # A tie that falls the other way changes what follows it in its channel.
    assert (stored(found).numpy() == expected).mean() > 0.98


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("ranges", ["mse", "minmax"])
def test_compensated_rounding_lowers_the_error_of_outputs(
    weight: torch.Tensor, inputs: torch.Tensor, bits: int, ranges: str
) -> None:
    hessian = inputs.T @ inputs / len(inputs)

    def output_error(found: QuantizedWeight) -> torch.Tensor:
        return (inputs.double() @ (weight.double() - restored(found)).T).norm(dim=0)

    nearest, compensated = (quantize_weight(weight, bits, ranges, h) for h in (None, hessian))
    ratio = output_error(compensated) / output_error(nearest)
    assert float(ratio.max()) < 1.0
    assert float(ratio.median()) < 0.7


@pytest.mark.parametrize("bits", [3, 4])
def test_ranges_are_refined_for_the_error_of_outputs(
    weight: torch.Tensor, inputs: torch.Tensor, bits: int
) -> None:
    hessian = inputs.T @ inputs / len(inputs)
    refined, nearest = quantize_weight(weight, bits, "mse", hessian), quantize_weight(weight, bits)
    same_ranges = plain_gptq(
        weight.double().numpy(),
        nearest.scales.double()[:, None].expand(24, 150).numpy(),
        bits,
        hessian.double().numpy(),
    )

    def output_error(values: torch.Tensor) -> torch.Tensor:
        return (inputs.double() @ (weight.double() - values).T).norm(dim=0)

    before = output_error(torch.from_numpy(same_ranges) * nearest.scales.double()[:, None])
    ratio = output_error(restored(refined)) / before
    # GPTQ's damping and ties apart.
    assert float(ratio.max()) < 1.02
    assert float(ratio.mean()) < 0.99


@pytest.mark.parametrize("ranges", ["mse", "minmax"])
@pytest.mark.parametrize("bits", [4, 8])
def test_uncorrelated_inputs_are_rounded_to_nearest(weight: torch.Tensor, bits: int, ranges: str) -> None:
    found = quantize_weight(weight, bits, ranges, torch.diag(torch.linspace(0.1, 9.0, 150)))
    assert torch.equal(found.codes, nearest_codes(weight, found))


def nearest_codes(weight: torch.Tensor, found: QuantizedWeight) -> torch.Tensor:
    limit = 2 ** (found.bits - 1)
    return (weight.double() / found.scales.double()[:, None]).round().clamp(-limit, limit - 1).to(torch.int8)


def test_dead_inputs_are_rounded_to_nearest(weight: torch.Tensor, inputs: torch.Tensor) -> None:
    dead = [0, 70, 149]
    alive = [i for i in range(150) if i not in dead]
    seen = inputs.clone()
    seen[:, dead] = 0.0
    found = quantize_weight(weight, 4, "mse", seen.T @ seen / len(seen))
    nearest = nearest_codes(weight, found)
    assert torch.equal(found.codes[:, dead], nearest[:, dead])
    assert not torch.equal(found.codes[:, alive], nearest[:, alive])
    silent = quantize_weight(weight, 4, "minmax", torch.zeros(150, 150))
    assert torch.equal(silent.codes, quantize_weight(weight, 4, "minmax").codes)


class TestGroups:
    @pytest.mark.parametrize("bits", [2, 3, 4, 6])
    def test_codes_are_narrow_ones_times_their_groups_factor(self, weight: torch.Tensor, bits: int) -> None:
        found = quantize_weight(weight, bits, grouped=True)
        assert found.factors is not None
        assert found.factors.shape == (24, 10)  # of 150 inputs the last group has 6
        assert int(found.factors.min()) >= 1
        assert int(found.factors.max()) <= largest_factor(bits)
        narrow = stored(found)
        assert int(narrow.min()) >= -(2 ** (bits - 1))
        assert int(narrow.max()) <= 2 ** (bits - 1) - 1
        assert torch.equal(narrow * found.factors.long().repeat_interleave(GROUP, 1)[:, :150], found.codes)

    @pytest.mark.parametrize("bits", [3, 4])
    def test_they_lower_the_error(self, weight: torch.Tensor, bits: int) -> None:
        uneven = weight * torch.logspace(-2, 0, 10).repeat_interleave(GROUP)[:150]
        plain, grouped = (
            channel_errors(uneven, quantize_weight(uneven, bits, grouped=g)) for g in (False, True)
        )
        assert (grouped < plain).all()
        assert np.median(grouped / plain) < 0.5

    def test_eight_bits_leave_no_room_for_factors(self, weight: torch.Tensor) -> None:
        found, plain = (quantize_weight(weight, 8, grouped=g) for g in (True, False))
        assert found.factors is None
        assert torch.equal(found.codes, plain.codes)

    def test_groups_and_channels_of_zeros_stay_zeros(self, weight: torch.Tensor) -> None:
        sparse = weight.clone()
        sparse[3], sparse[:, :GROUP] = 0.0, 0.0
        for hessian in (None, torch.eye(150)):
            found = quantize_weight(sparse, 4, "mse", hessian, grouped=True)
            assert bool(found.scales.isfinite().all())
            assert not found.codes[3].any()
            assert not found.codes[:, :GROUP].any()


@pytest.mark.parametrize("bits", BITS)
def test_sigma_scales_follow_the_formula_with_the_multiple_of_least_error(
    weight: torch.Tensor, bits: int
) -> None:
    found, qmax = quantize_weight(weight, bits, "sigma"), 2 ** (bits - 1) - 1
    values = weight.double().numpy()
    largest, spread = np.abs(values).max(1), values.std(1)

    def error(beta: float) -> float:
        scales = np.maximum(largest + beta * spread, 0.2 * largest)[:, None] / qmax
        codes = np.clip(np.rint(values / scales), -qmax - 1, qmax)
        return float(((codes * scales - values) ** 2).sum())

    tried = np.arange(-60, 11) / 10
    best = tried[int(np.argmin([error(beta) for beta in tried]))]
    expected = np.maximum(largest + best * spread, 0.2 * largest) / qmax
    np.testing.assert_allclose(found.scales.numpy(), expected, rtol=1e-5)
    assert channel_errors(weight, found).sum() <= error(0.0) * 1.00001
