"""Varied images: the same for the same seed, of the same size, and of what was in the images."""

from __future__ import annotations

import torch
from refinement_cases import refined_case

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.training.refinement.variation import varied

CHOSEN = torch.arange(12)


def images() -> PreprocessedImages:
    return refined_case("vit").images


def varied_by(seed: int) -> torch.Tensor:
    return varied(images(), CHOSEN, torch.Generator().manual_seed(seed))


def test_a_seed_decides_how_they_vary() -> None:
    found = varied_by(1)
    assert found.shape == images().pixels[CHOSEN].shape
    assert torch.equal(found, varied_by(1))
    assert not torch.equal(found, varied_by(2))


def test_nothing_is_in_them_that_no_image_has() -> None:
    pixels = images().normalised(images().pixels)
    found = varied_by(1)
    assert float(found.min()) >= float(pixels.min())
    assert float(found.max()) <= float(pixels.max())
