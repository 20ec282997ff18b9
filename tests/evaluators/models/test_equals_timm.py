"""Float logits and top-1 equal those of plain timm, to the last bit: models of many data configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.models.loading import load_model

# Sizes from 224 to 384, shares of 0.9 to 1, three pairs of mean and deviation, centres cut out and images
# squashed, heads of 512, 1,000 and 11,821 classes, with and without class tokens, registers and windows.
MODELS = (
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
    "vit_small_patch32_224.augreg_in21k_ft_in1k",
    "vit_small_patch32_384.augreg_in21k_ft_in1k",
    "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m",
    "vit_wee_patch16_reg1_gap_256.sbb_in1k",
    "vit_little_patch16_reg1_gap_256.sbb_in12k",
    "vit_medium_patch16_gap_384.sw_in12k_ft_in1k",
    "flexivit_small.1200ep_in1k",
    "deit_tiny_patch16_224.fb_in1k",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit_small_patch16_224.fb_in1k",
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "deit3_small_patch16_384.fb_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "swin_s3_tiny_224.ms_in1k",
)
SHAPES = ((300, 400), (500, 375), (224, 224), (90, 60), (257, 511), (640, 480))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of JPEG and PNG images of three classes: noise at several scales, as photographs have."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index, (height, width) in enumerate(SHAPES):
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        path = folder / ("bird", "cat", "dog")[index % 3] / f"{index}.{('png', 'jpg', 'jpeg')[index % 3]}"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    return folder


def timms(module: torch.nn.Module, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels by timm's own data set and loader, which normalises on the device as it does."""
    import timm.data

    config: dict[str, Any] = timm.data.resolve_data_config({}, model=module)
    data = timm.data.create_dataset("", root=str(folder))
    loader = timm.data.create_loader(
        data,
        config["input_size"],
        len(SHAPES),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        num_workers=0,
        persistent_workers=False,
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
        pin_memory=False,
        device=torch.device("cpu"),
    )
    ((images, labels),) = list(loader)
    with torch.inference_mode():
        return module.eval()(images), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_timms(name: str, photos: Path, tmp_path: Path) -> None:
    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import timm

    torch.manual_seed(0)
    module = timm.create_model(name)
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    expected, labels = timms(module, photos)
    loaded, source = load_model(name, checkpoint=tmp_path / "weights.safetensors"), open_source(str(photos))
    images = load_images(source, range(len(source)), loaded.data_config)
    (batch, own), *none = images.batches(len(source))
    assert none == []
    with torch.inference_mode():
        logits = loaded.module(batch)
    assert torch.equal(logits, expected)
    assert torch.equal(own, labels)
    assert torch.equal(logits.argmax(1) == own, expected.argmax(1) == labels)
