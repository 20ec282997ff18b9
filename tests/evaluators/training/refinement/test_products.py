"""Quick products are those of the kernels where both factors are codes, and their gradients come near."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from bitfront.evaluators.training.refinement.products import product, quick_products


def codes(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(-255, 256, shape, generator=generator).float()


@pytest.mark.parametrize("quick", [False, True])
def test_products_of_codes_are_exact(quick: bool) -> None:
    x, weight = codes(300, 768), codes(96, 768).clamp(-128, 127)
    with quick_products(quick):
        found = product(x, weight)
        scores = x[None, :, :64] @ x[None, :, 64:128].transpose(-1, -2)
    assert torch.equal(found.double(), x.double() @ weight.double().T)
    assert torch.equal(scores[0].double(), x[:, :64].double() @ x[:, 64:128].double().T)


@pytest.mark.parametrize("quick", [False, True])
def test_gradients_are_those_of_a_product(quick: bool) -> None:
    x, weight = codes(40, 64).requires_grad_(), codes(24, 64).requires_grad_()
    gradient = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    with quick_products(quick):
        product(x, weight).backward(gradient)
    assert x.grad is not None
    assert weight.grad is not None
    near = {"rtol": 0.02, "atol": 20.0} if quick else {}
    assert_close(x.grad, gradient @ weight.detach(), **near)
    assert_close(weight.grad, gradient.T @ x.detach(), **near)


def test_the_precision_before_comes_back() -> None:
    before = torch.get_float32_matmul_precision()
    with quick_products(True):
        assert torch.get_float32_matmul_precision() == "medium"
        with quick_products(False):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before
