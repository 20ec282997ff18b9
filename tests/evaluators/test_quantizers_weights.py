"""Weight quantization against its formulas, a brute-force scale search and a plain GPTQ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitfront.evaluators.quantizers import QuantizedWeight, quantize_weight
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


def plain_gptq(weight: np.ndarray, scales: np.ndarray, bits: int, hessian: np.ndarray) -> np.ndarray:
    """One input at a time, eliminating it from the inverse Hessian (Frantar et al., section 3)."""
    order = np.argsort(-np.diag(hessian), kind="stable")
    damped = hessian[np.ix_(order, order)] + 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    inverse = np.linalg.inv(damped)
    remaining, codes = weight[:, order].copy(), np.empty_like(weight)
    for i in range(len(order)):
        code = np.clip(np.rint(remaining[:, i] / scales), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        codes[:, order[i]] = code
        error = (remaining[:, i] - code * scales) / inverse[i, i]
        remaining[:, i:] -= np.outer(error, inverse[i, i:])
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return codes


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_compensated_rounding_is_gptq(weight: torch.Tensor, inputs: torch.Tensor, bits: int) -> None:
    hessian = inputs.T @ inputs / len(inputs)
    found = quantize_weight(weight, bits, "mse", hessian)
    expected = plain_gptq(
        weight.double().numpy(), found.scales.double().numpy(), bits, hessian.double().numpy()
    )
    # A tie that falls the other way changes what follows it in its channel.
    assert (found.codes.numpy() == expected).mean() > 0.98


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_compensated_rounding_lowers_the_error_of_outputs(
    weight: torch.Tensor, inputs: torch.Tensor, bits: int
) -> None:
    hessian = inputs.T @ inputs / len(inputs)

    def output_error(found: QuantizedWeight) -> torch.Tensor:
        return (inputs.double() @ (weight.double() - restored(found)).T).norm(dim=0)

    nearest, compensated = quantize_weight(weight, bits), quantize_weight(weight, bits, "mse", hessian)
    assert torch.equal(nearest.scales, compensated.scales)
    ratio = output_error(compensated) / output_error(nearest)
    assert float(ratio.max()) < 1.0
    assert float(ratio.median()) < 0.7


@pytest.mark.parametrize("bits", [4, 8])
def test_uncorrelated_inputs_are_rounded_to_nearest(weight: torch.Tensor, bits: int) -> None:
    hessian = torch.diag(torch.linspace(0.1, 9.0, 150))
    assert torch.equal(
        quantize_weight(weight, bits, "mse", hessian).codes, quantize_weight(weight, bits).codes
    )


def test_dead_inputs_are_rounded_to_nearest(weight: torch.Tensor, inputs: torch.Tensor) -> None:
    dead = [0, 70, 149]
    alive = [i for i in range(150) if i not in dead]
    seen = inputs.clone()
    seen[:, dead] = 0.0
    found = quantize_weight(weight, 4, "mse", seen.T @ seen / len(seen))
    nearest = quantize_weight(weight, 4)
    assert torch.equal(found.codes[:, dead], nearest.codes[:, dead])
    assert not torch.equal(found.codes[:, alive], nearest.codes[:, alive])
    silent = quantize_weight(weight, 4, "mse", torch.zeros(150, 150))
    assert torch.equal(silent.codes, nearest.codes)
