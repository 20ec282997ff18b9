"""Spectral sensitivities, against singular values and gradients of a float64 model of timm."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.fisher import fisher_pair
from bitfront.evaluators.sensitivity.spectral import (
    SEED,
    SpectralScores,
    gene_values,
    layer_sensitivities,
    spectral_share,
)
from bitfront.spaces import EncoderLayers, SearchSpace, UserError

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


@pytest.fixture(scope="module")
def found(blueprint: Blueprint, images: torch.Tensor) -> dict[tuple[int, str], float]:
    return layer_sensitivities(blueprint, images.split(4))


def weights_of(module: torch.nn.Module) -> dict[tuple[int, str], torch.nn.Parameter]:
    parameters = dict(module.named_parameters())
    return {(i, layer): parameters[f"blocks.{i}.{layer}.weight"] for i in range(3) for layer in LAYERS}


def share_by_numpy(weight: torch.Tensor) -> float:
    """The largest singular value by the eigenvalues of the Gram matrix, over the root of the trace."""
    gram = weight.detach().double().numpy()
    gram = gram @ gram.T
    return float(np.sqrt(np.linalg.eigvalsh(gram)[-1] / np.trace(gram)))


def test_they_are_those_of_a_float64_model_of_timm(
    module: torch.nn.Module, images: torch.Tensor, found: dict[tuple[int, str], float]
) -> None:
    exact, generator = copy.deepcopy(module).double(), torch.Generator().manual_seed(SEED)
    weights = weights_of(exact)
    norms = dict.fromkeys(weights, 0.0)
    for image in images.double().split(1):
        logits = exact(image)
        pair = fisher_pair(logits.float(), generator)[0].double()
        squares = dict.fromkeys(weights, 0.0)
        for direction in pair:
            exact.zero_grad()
            (logits[0] * direction).sum().backward(retain_graph=True)
            for key, weight in weights.items():
                squares[key] += float(weight.grad.square().sum())
        for key in weights:
            norms[key] += squares[key] ** 0.5 / len(images)
    for key, weight in weights.items():
        assert found[key] == pytest.approx(share_by_numpy(weight) * norms[key], rel=2e-4), key


def test_the_loss_is_that_of_labels_drawn_from_the_prediction(
    module: torch.nn.Module, blueprint: Blueprint, images: torch.Tensor
) -> None:
    """Of one image: the mean square over all classes, each as likely as it is predicted."""
    exact = copy.deepcopy(module).double()
    weights, image = weights_of(exact), images[:1]
    logits = exact(image.double())
    expected = dict.fromkeys(weights, 0.0)
    for label in range(logits.shape[1]):
        exact.zero_grad()
        F.cross_entropy(logits, torch.tensor([label])).backward(retain_graph=True)
        share = float(logits.detach().softmax(-1)[0, label])
        for key, weight in weights.items():
            expected[key] += share * float(weight.grad.square().sum())
    # The same image often: one draw of directions for each.
    repeated = layer_sensitivities(blueprint, [image.expand(200, -1, -1, -1)])
    for key, weight in weights.items():
        assert repeated[key] == pytest.approx(share_by_numpy(weight) * expected[key] ** 0.5, rel=0.12), key


def test_batches_make_no_difference_and_the_model_stays_as_it_is(
    blueprint: Blueprint, images: torch.Tensor, found: dict[tuple[int, str], float]
) -> None:
    seen: list[int] = []
    assert layer_sensitivities(blueprint, [images], seen.append) == found
    assert seen == [len(images)]
    assert not any(parts.weight.grad is not None for parts in blueprint.encoders[0].linear().values())


def test_the_share_of_the_largest_singular_value() -> None:
    assert spectral_share(torch.eye(4)) == pytest.approx(0.5)
    assert spectral_share(torch.outer(torch.arange(3.0), torch.ones(5))) == pytest.approx(1.0)
    assert spectral_share(torch.zeros(3, 2)) == 0.0


def space(granularity: Any) -> SearchSpace:
    return SearchSpace("m", "fq-vit", [EncoderLayers(0, "blocks.0", LAYERS)], (4, 8), granularity)


def test_genes_have_the_mean_of_their_layers() -> None:
    by_layer = {(0, layer): float(value) for value, layer in enumerate(LAYERS)}
    assert gene_values(space("encoder"), by_layer).tolist() == [1.5]
    assert gene_values(space("encoder-kind"), by_layer).tolist() == [1.5, 1.5, 0.0]
    assert gene_values(space("layer"), by_layer).tolist() == [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0]


def test_they_are_read_as_they_were_written() -> None:
    scores = SpectralScores(("a", "b"), np.array([0.25, 3.0]))
    read = SpectralScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert (read.names, read.values.tolist()) == (("a", "b"), [0.25, 3.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "not spectral scores"),
        ({"values": [1.0]}, "equal length"),
        ({"values": [1.0, -1.0]}, "at least 0"),
        ({"values": [1.0, float("nan")]}, "finite"),
    ],
)
def test_documents_of_another_form_are_refused(change: dict[str, Any], words: str) -> None:
    document = SpectralScores(("a", "b"), np.array([0.25, 3.0])).to_json()
    with pytest.raises(UserError, match=words):
        SpectralScores.from_json({**document, **change})
