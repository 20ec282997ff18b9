"""A small vision transformer, calibrated and prepared, and the digits context, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.digits import train_digits
from bitfront.spaces import BitConfig, EncoderLayers

WIDTHS = (4, 8)
SmallVit = Callable[..., torch.nn.Module]


@pytest.fixture(scope="session")
def timm() -> Any:
    ensure_torchvision()
    import timm

    return timm


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module in evaluation mode with noise on its parameters, so that no bias or norm is trivial."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@pytest.fixture(scope="session")
def small_vit() -> SmallVit:
    """Builds a timm VisionTransformer with random weights: seed, then the constructor's options."""
    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    def build(
        seed: int, family: type[torch.nn.Module] = VisionTransformer, **options: object
    ) -> torch.nn.Module:
        torch.manual_seed(seed)
        settings: dict[str, object] = {
            "img_size": 16,
            "patch_size": 4,
            "embed_dim": 32,
            "depth": 3,
            "num_heads": 2,
            "num_classes": 7,
        }
        return moved(family(**{**settings, **options}))

    return build


@pytest.fixture(scope="session")
def small_swin() -> SmallVit:
    """Builds a timm SwinTransformer with random weights: seed, then the constructor's options."""
    ensure_torchvision()
    from timm.models.swin_transformer import SwinTransformer

    def build(seed: int, **options: object) -> torch.nn.Module:
        torch.manual_seed(seed)
        settings: dict[str, object] = {
            "img_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": (2, 2),
            "num_heads": (2, 4),
            "window_size": 4,
            "num_classes": 7,
        }
        return moved(SwinTransformer(**{**settings, **options}))

    return build


@pytest.fixture(scope="session")
def module(small_vit: SmallVit) -> torch.nn.Module:
    return small_vit(0)


@pytest.fixture(scope="session")
def blueprint(module: torch.nn.Module) -> Blueprint:
    return blueprint_of("small", module)


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def calibration(blueprint: Blueprint, images: torch.Tensor) -> Calibration:
    return calibrate(blueprint, lambda: images.split(3), WIDTHS, observer_named("minmax"))


@pytest.fixture(scope="session")
def prepared(blueprint: Blueprint, calibration: Calibration) -> PreparedModel:
    return PreparedModel(blueprint, calibration, "fq-vit", WIDTHS)


@pytest.fixture(scope="session")
def layers_of() -> Callable[[Blueprint], list[EncoderLayers]]:
    return lambda blueprint: [
        EncoderLayers(index, encoder.name, tuple(encoder.linear()))
        for index, encoder in enumerate(blueprint.encoders)
    ]


@pytest.fixture(scope="session")
def uniform(layers_of: Callable[[Blueprint], list[EncoderLayers]]) -> Callable[..., BitConfig]:
    """The configuration of a blueprint with the same bits in every encoder."""
    return lambda blueprint, bits, scheme="fq-vit": BitConfig.uniform(
        blueprint.name, scheme, layers_of(blueprint), bits
    )


@pytest.fixture(scope="session")
def digits_context() -> EvaluationContext:
    return EvaluationContext.from_spec(EvaluationSpec(model="digits_deit", scheme="fq-vit"))


@pytest.fixture(scope="session")
def digits_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Weights of ``digits_vit`` and ``digits_swin``, trained when first asked for: about 91 % top-1."""
    folder = tmp_path_factory.mktemp("digits")
    return cache(lambda name: train_digits(folder / f"{name}.safetensors", model=name, epochs=16).path)


@pytest.fixture(scope="session")
def deit_tiny() -> Blueprint:
    """DeiT-Tiny with random weights."""
    ensure_torchvision()
    import timm

    torch.manual_seed(0)
    return blueprint_of("deit_tiny_patch16_224", timm.create_model("deit_tiny_patch16_224").eval())
