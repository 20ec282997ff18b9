"""The published figures: shipped, and beside ours only where model, data and weights are those."""

from __future__ import annotations

import pytest
from model_comparison import figures

from bitfront.search.reports.published import comparable, published, published_model, statement


def test_all_eight_models_of_the_paper_are_shipped() -> None:
    paper = published()
    assert paper.where == "PoMQ-ViT (Appl. Sci. 2025, 15, 9856)"
    assert sorted(model.name for model in paper.models.values()) == [
        "DeiT-B", "DeiT-S", "DeiT-T", "Swin-B", "Swin-S", "Swin-T", "ViT-B", "ViT-L",
    ]  # fmt: skip
    tiny = paper.models["deit_tiny_patch16_224"]
    assert (tiny.eight_bit, tiny.stochastic, tiny.search) == (70.036, 68.733, 68.866)
    assert dict(tiny.after) == {2: 65.008, 5: 67.834, 10: 68.866, 20: 69.002}
    for model in paper.models.values():
        assert model.stochastic < model.search < model.eight_bit
        assert model.search_size < model.eight_bit_size
        # What the paper calls its result is that after 10 generations.
        assert model.after[10] == model.search


def test_names_of_timm_may_carry_a_tag_or_a_hub() -> None:
    for name in ("vit_base_patch16_224.augreg_in21k_ft_in1k", "hf-hub:timm/vit_base_patch16_224.augreg_in1k"):
        assert published_model(name) == published().models["vit_base_patch16_224"]
    assert published_model("vit_base_patch32_224") is None


def test_figures_stand_beside_ours_on_imagenet_alone() -> None:
    ours = figures(imagenet_validation=True)
    assert comparable(ours) == published().models["deit_tiny_patch16_224"]
    told = statement(ours, "val")
    assert (
        "published for DeiT-T on all of ImageNet-1k validation (50,000 images), ours on 472 of these" in told
    )
    assert "simulated quantization" in told


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "published for DeiT-T on ImageNet-1k validation (50,000 images), ours on photographs/labels.csv "
            "with 472 images: not comparable digit by digit",
        ),
        (
            {"model": "digits_deit", "imagenet_validation": True},
            "PoMQ-ViT (Appl. Sci. 2025, 15, 9856) has no figures of digits_deit",
        ),
        (
            {"random_weights": True, "imagenet_validation": True},
            "random weights: a dry run, accuracies mean nothing",
        ),
    ],
)
def test_elsewhere_it_is_said_plainly(changes: dict, expected: str) -> None:
    ours = figures(**changes)
    assert comparable(ours) is None
    assert statement(ours, "photographs/labels.csv") == expected
