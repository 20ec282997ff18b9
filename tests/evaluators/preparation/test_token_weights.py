"""Weights of tokens against the exact Fisher information of a small model."""

from __future__ import annotations

import pytest
import torch
from quantized_cases import small, small_case

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.sites import LAYER_OUTPUTS
from bitfront.evaluators.preparation.fisher import LEAST_SHARE, token_weights


def exact_importance(blueprint: Blueprint, image: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    """Root of the mean diagonal of ``J^T (diag(p) - p p^T) J`` for each token, from the whole Jacobian."""
    seen: dict[str, torch.Tensor] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        seen[site] = value

    logits = forward(blueprint, image[None].clone().requires_grad_(), tap)[0]
    probability = logits.detach().softmax(-1).double()
    sites = {
        (index, layer): f"{encoder.name}.{site}"
        for index, encoder in enumerate(blueprint.encoders)
        for layer, site in LAYER_OUTPUTS.items()
    }
    rows = [
        torch.autograd.grad(logit, [seen[site] for site in sites.values()], retain_graph=True)
        for logit in logits
    ]
    found = {}
    for number, key in enumerate(sites):
        jacobian = torch.stack([row[number][0] for row in rows]).double()
        p = probability[:, None, None]
        diagonal = (p * jacobian.square()).sum(0) - (p * jacobian).sum(0).square()
        found[key] = diagonal.mean(-1).clamp_min(0.0).sqrt()
    return found


@pytest.mark.parametrize("name", ["vit", "distilled", "swin"])
def test_over_many_draws_they_are_the_exact_ones(name: str) -> None:
    """Copies of one image get draws of their own, of which the mean square is the exact diagonal."""
    torch.manual_seed(0)
    small_ones = {
        "vit": {"img_size": 8, "depth": 2, "embed_dim": 16},
        "distilled": {"img_size": 8, "depth": 2, "embed_dim": 16},
        "swin": {"img_size": 8, "patch_size": 2, "window_size": 2, "embed_dim": 8, "depths": (2, 1)},
    }
    module = small(name, **small_ones[name]).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    blueprint = blueprint_of(name, module)
    image, copies = torch.randn(3, 8, 8), 600
    found = token_weights(blueprint, lambda: [image.expand(copies, -1, -1, -1)])
    exact = exact_importance(blueprint, image)
    assert set(found) == set(exact)
    for key, (weights,) in found.items():
        shares = (weights.double().view(copies, -1) - LEAST_SHARE) / (1.0 - LEAST_SHARE)
        got, wanted = shares.square().mean(0).sqrt(), exact[key]
        got, wanted = got / got.norm(), wanted / wanted.norm()
        assert float((got - wanted).norm()) < 0.1, key
        # Nothing is shown by weights that would be right if all tokens were alike.
        assert key[1] == "attn.qkv" or float((wanted - wanted.mean()).norm()) > 0.1


@pytest.mark.parametrize("name", ["vit", "registers", "norm then average", "swin"])
def test_they_have_mean_1_and_are_never_small(name: str) -> None:
    case = small_case(name, 10)
    found = token_weights(case.blueprint, lambda: case.images.split(6))
    for (index, _), batches in found.items():
        assert [len(batch) for batch in batches] == [
            images * case.blueprint.encoders[index].tokens for images in (6, 4)
        ]
        for batch in batches:
            assert batch.dtype == torch.float32
            assert float(batch.mean()) == pytest.approx(1.0, abs=1e-4)
            assert float(batch.min()) >= LEAST_SHARE * 0.999
    assert len(found) == 4 * len(case.blueprint.encoders)


def test_in_the_last_encoder_only_the_class_token_matters() -> None:
    case = small_case("vit", 8)
    found = token_weights(case.blueprint, lambda: [case.images])
    last = len(case.blueprint.encoders) - 1
    for layer in ("attn.proj", "mlp.fc1", "mlp.fc2"):
        weights = found[last, layer][0].view(8, -1)
        torch.testing.assert_close(weights[:, 1:], torch.full_like(weights[:, 1:], LEAST_SHARE))
        assert float(weights[:, 0].min()) > 1.0
    # Queries of the class token read keys and values of every token.
    assert float(found[last, "attn.qkv"][0].view(8, -1)[:, 1:].mean()) > 2 * LEAST_SHARE


def test_where_all_tokens_are_averaged_all_matter() -> None:
    case = small_case("norm then average", 8)
    weights = token_weights(case.blueprint, lambda: [case.images])[2, "mlp.fc2"][0].view(8, -1)
    assert float(weights[:, 0].max()) == pytest.approx(LEAST_SHARE)  # the class token is not in the average
    assert float((weights[:, 1:] > 2 * LEAST_SHARE).float().mean()) > 0.9


def test_they_are_the_same_each_time_and_leave_no_gradients() -> None:
    case = small_case("vit", 6)
    torch.manual_seed(1)
    first = token_weights(case.blueprint, lambda: case.images.split(4))
    torch.manual_seed(2)
    again = token_weights(case.blueprint, lambda: case.images.split(4))
    assert all(map(torch.equal, first[0, "attn.qkv"], again[0, "attn.qkv"]))
    assert not case.images.requires_grad
    assert all(not batch.requires_grad for batches in first.values() for batch in batches)


def test_certain_predictions_weigh_all_tokens_alike() -> None:
    """The Fisher information of a saturated softmax is zero."""
    case = small_case("vit", 4)
    with torch.no_grad():
        case.module.head.weight.zero_()
        case.module.head.bias.copy_(torch.linspace(0, 6000, 7))
    found = token_weights(blueprint_of("sure", case.module), lambda: [case.images])
    for batches in found.values():
        assert torch.equal(batches[0], torch.ones_like(batches[0]))
