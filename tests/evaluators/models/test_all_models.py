"""Models that are known by name, at their real widths and resolution, against the reference.

Depths are reduced; ``BITFRONT_FULL_DEPTH=1`` takes the whole models, which needs several minutes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from quantized_cases import Bits, Case, moved
from quantized_comparison import Comparison, Deviations
from shared_data import SHARED

from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import SCHEMES

WEIGHTS = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
PHOTOS = SHARED / "imagenet-compatible" / "labels.csv"

FULL_DEPTH = os.environ.get("BITFRONT_FULL_DEPTH") == "1"
EIGHT_BITS: tuple[Bits, ...] = ((8, 8, 8), (8, 8, 4))
NARROW_WEIGHTS: tuple[Bits, ...] = ((8, 8, 8), (4, 8, 8))
FOUR_BITS: tuple[Bits, ...] = ((4, 4, 4), "mixed 1", "mixed 2") if FULL_DEPTH else ((4, 4, 4), "mixed 1")
# Options that reduce the depth, and how many images are compared.
MODELS: dict[str, tuple[dict[str, object], int]] = {
    "deit_tiny_patch16_224": ({"depth": 3}, 4),
    "deit_small_patch16_224": ({"depth": 3}, 3),
    "deit_base_patch16_224": ({"depth": 2}, 2),
    "vit_base_patch16_224": ({"depth": 2}, 2),
    "vit_large_patch16_224": ({"depth": 2}, 2),
    "swin_tiny_patch4_window7_224": ({"depths": (2, 2, 2, 1)}, 2),
    "swin_small_patch4_window7_224": ({"depths": (1, 1, 3, 1)}, 2),
    "swin_base_patch4_window7_224": ({"depths": (1, 1, 2, 1)}, 2),
}
# One of each family and kind of encoder, in scheme deploy.
OTHERS: dict[str, tuple[dict[str, object], int]] = {
    "vit_base_patch16_clip_quickgelu_224": ({"depth": 2}, 2),
    "vit_base_patch16_siglip_224": ({"depth": 2, "num_classes": 1000}, 2),
    "vit_giant_patch14_dinov2": ({"depth": 1, "img_size": 224, "num_classes": 1000}, 2),
    "aimv2_large_patch14_224": ({"depth": 1, "num_classes": 1000}, 2),
    "vit_base_patch16_rpn_224": ({"depth": 2}, 2),
    "eva02_small_patch14_224": ({"depth": 2, "num_classes": 1000}, 3),
    "vit_small_patch16_dinov3": ({"depth": 2, "num_classes": 1000}, 3),
    "vit_small_patch16_rope_mixed_224": ({"depth": 2}, 3),
    "vit_pe_core_small_patch16_384": ({"depth": 2, "num_classes": 1000}, 2),
    "beit_base_patch16_224": ({"depth": 2}, 2),
    "beit3_base_patch16_224": ({"depth": 2}, 2),
    "swinv2_tiny_window8_256": ({"depths": (1, 2, 1, 1)}, 2),
    "vit_relpos_small_patch16_224": ({"depth": 2}, 3),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several workers may share this machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scenes(count: int, side: int) -> torch.Tensor:
    """Images of large and small shapes and noise."""
    generator = torch.Generator().manual_seed(count)

    def shapes(cells: int) -> torch.Tensor:
        drawn = torch.randn(count, 3, cells, cells, generator=generator)
        return F.interpolate(drawn, size=(side, side), mode="bilinear")

    return shapes(7) + 0.5 * shapes(56) + 0.2 * shapes(side)


@functools.lru_cache(maxsize=1)
def case_named(name: str) -> Case:
    """The model with timm's random weights, moved so that no bias is zero."""
    ensure_torchvision()
    import timm

    reduced, images = (MODELS | OTHERS)[name]
    torch.manual_seed([*MODELS, *OTHERS].index(name))
    module = moved(timm.create_model(name, **({} if FULL_DEPTH else reduced)), 1, 0.02)
    blueprint = blueprint_of(name, module)
    return Case(module, blueprint, scenes(images, blueprint.image_shape[1]), 2)


def assert_no_further_than_twice_the_noise(
    compared: Comparison, assignments: tuple[Bits, ...] = EIGHT_BITS
) -> None:
    eight = {bits: compared.deviations(bits) for bits in assignments}
    for bits, found in eight.items():
        # Beyond this, float32 would be as far from float64 as one image is from another, and show nothing.
        assert 0 < found.noise.mean() < 0.3 * compared.spread(), bits
        assert found.mean_ratio <= 2, bits
    # One flip moves a whole image: which of a few images it falls upon is a matter of roundings.
    assert Deviations.pooled(eight.values()).largest_ratio <= 2
    # With 4-bit activations few roundings are near a tie, and one flip moves a whole image.
    found = Deviations.pooled(compared.deviations(bits) for bits in FOUR_BITS)
    assert found.evaluator.mean() < 0.8 * compared.spread()
    assert found.mean_ratio < 4
    assert found.excess < 3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "name", [name if "tiny" in name else pytest.param(name, marks=pytest.mark.thorough) for name in MODELS]
)
def test_logits_deviate_no_more_than_float_fake_quantization(name: str, scheme: str) -> None:
    # Min-max ranges of weights are found at once; which ranges is all the same to exactness.
    assert_no_further_than_twice_the_noise(Comparison(case_named(name), scheme, ranges="minmax"))


@pytest.mark.thorough
@pytest.mark.parametrize("name", OTHERS)
def test_so_do_those_of_every_other_family(name: str) -> None:
    compared = Comparison(case_named(name), "deploy", ranges="minmax")
    assert_no_further_than_twice_the_noise(compared, NARROW_WEIGHTS)


@functools.lru_cache(maxsize=1)
def deit_tiny_on_photographs() -> Case:
    ensure_torchvision()
    import timm

    loaded = load_model("deit_tiny_patch16_224", checkpoint=WEIGHTS)
    config = timm.data.resolve_data_config({}, model=loaded.module)
    images = load_images(open_source(str(PHOTOS)), range(0, 60, 10), config)
    pixels = torch.cat([batch for batch, _ in images.batches(6)])
    return Case(loaded.module, blueprint_of("deit_tiny", loaded.module), pixels, 4)


@pytest.mark.data
@pytest.mark.skipif(not (WEIGHTS.is_file() and PHOTOS.is_file()), reason="the shared data folder is absent")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_so_do_those_of_a_trained_model_on_photographs(scheme: str) -> None:
    assert_no_further_than_twice_the_noise(Comparison(deit_tiny_on_photographs(), scheme))
