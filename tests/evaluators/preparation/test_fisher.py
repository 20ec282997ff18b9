"""Directions of the prediction: their covariance is its Fisher information, the KL to second order."""

from __future__ import annotations

import torch

from bitfront.evaluators.preparation.fisher import fisher_direction, fisher_pair


def logits(classes: int = 5) -> torch.Tensor:
    return 2.0 * torch.randn(1, classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def information(z: torch.Tensor) -> torch.Tensor:
    p = z.softmax(-1)[0]
    return torch.diag(p) - torch.outer(p, p)


def test_covariances_are_the_fisher_information() -> None:
    z, generator = logits(), torch.Generator().manual_seed(0)
    many = z.expand(40_000, -1)
    single, pair = fisher_direction(many, generator), fisher_pair(many, generator)
    expected = information(z)
    torch.testing.assert_close(single.T @ single / len(many), expected, rtol=0.0, atol=0.01)
    outer = torch.einsum("nki,nkj->ij", pair, pair) / len(many)
    torch.testing.assert_close(outer, expected, rtol=0.0, atol=0.01)


def test_half_the_form_is_the_divergence_to_second_order() -> None:
    z = logits()
    d = 1e-3 * torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = z[0].log_softmax(-1), (z[0] + d).log_softmax(-1)
    divergence = float((before.exp() * (before - after)).sum())
    assert abs(float(d @ information(z) @ d) / 2 / divergence - 1) < 0.01


def test_a_pair_is_all_but_exact_where_the_model_wavers_between_two_classes() -> None:
    z = torch.tensor([[1.0, 0.7, -9.0, -9.0]], dtype=torch.float64)
    d = torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
    exact = float(d @ information(z) @ d)
    for seed in range(20):
        pair = fisher_pair(z, torch.Generator().manual_seed(seed))[0]
        assert abs(float((pair @ d).square().sum()) / exact - 1) < 0.01


def test_directions_leave_the_sum_of_probabilities_alone() -> None:
    pair = fisher_pair(logits(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(pair.sum(-1), torch.zeros(1, 2, dtype=torch.float64))


def test_independent_logits_have_an_information_of_their_own() -> None:
    z, generator = logits(), torch.Generator().manual_seed(0)
    p = z.sigmoid()[0]
    many, expected = z.expand(40_000, -1), torch.diag(p * (1 - p))
    single, pair = fisher_direction(many, generator, True), fisher_pair(many, generator, True)
    torch.testing.assert_close(single.T @ single / len(many), expected, rtol=0.0, atol=0.01)
    outer = torch.einsum("nki,nkj->ij", pair, pair) / len(many)
    torch.testing.assert_close(outer, expected, rtol=0.0, atol=0.01)
    d = 1e-3 * torch.randn(5, generator=generator, dtype=torch.float64)
    moved, sigmoid = z[0] + d, torch.nn.functional.logsigmoid
    given = p * (sigmoid(z[0]) - sigmoid(moved))
    refused = (1 - p) * (sigmoid(-z[0]) - sigmoid(-moved))
    assert abs(float(d @ expected @ d) / 2 / float((given + refused).sum()) - 1) < 0.01
