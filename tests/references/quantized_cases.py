"""Small models of every kind and configurations of every sort, to compare with the quantized reference."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.preparation.recipes import Recipe, recipe_named
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitConfig, Choices, EncoderBits, EncoderLayers, FormatName, Kind, Triple

WIDTHS = (4, 8)
PLAIN = Choices.alike(WIDTHS)
Bits = Triple | str
# Weights, activations and attention of every encoder, and two assignments that differ by layer.
ASSIGNMENTS: tuple[Bits, ...] = ((8, 8, 8), (8, 8, 4), (4, 8, 8), (8, 4, 8), (4, 4, 4), "mixed 1", "mixed 2")
SMALL_VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 7}
SMALL_SWIN = {
    "img_size": 32,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "num_classes": 7,
}


@dataclass(frozen=True)
class Case:
    """A model with images, on the first of which its sites are calibrated."""

    module: torch.nn.Module
    blueprint: Blueprint
    images: torch.Tensor
    calibration_images: int

    def calibration(self, scheme: str) -> Calibration:
        """Grids of the scheme's sites, by min-max."""
        batches = self.images[: self.calibration_images].split(32)
        return calibrate(self.blueprint, lambda: batches, WIDTHS, observer_named("minmax"), scheme)

    def calibrated(self, scheme: str, recipe: Recipe, choices: Choices = PLAIN) -> CalibratedModel:
        """What a recipe makes of the model on the calibration images."""
        batches = self.images[: self.calibration_images].split(32)
        observer = observer_named(recipe.observer)
        return calibrate_model(
            self.blueprint, lambda: batches, choices, recipe, observer, scheme, lambda share: None
        )


def small(family: str, **options: object) -> torch.nn.Module:
    """A small timm module of a family, ``vit``, ``distilled`` or ``swin``, with random weights."""
    ensure_torchvision()
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    if family == "swin":
        return SwinTransformer(**{**SMALL_SWIN, **options})
    build: Any = VisionTransformerDistilled if family == "distilled" else VisionTransformer
    return build(**{**SMALL_VIT, **options})


SMALL: dict[str, Callable[[], torch.nn.Module]] = {
    "vit": lambda: small("vit"),
    "distilled": lambda: small("distilled"),
    "registers": lambda: small("vit", reg_tokens=2, no_embed_class=True, init_values=0.5, qkv_bias=False),
    "average then norm": lambda: small("vit", global_pool="avg", class_token=False),
    "norm then average": lambda: small("vit", global_pool="avg", fc_norm=False, img_size=(16, 24)),
    "norm before": lambda: small("vit", pre_norm=True),
    "swin": lambda: small("swin"),
    "wide swin": lambda: small("swin", img_size=(32, 64), window_size=(2, 4), qkv_bias=False),
}


def moved(module: torch.nn.Module, seed: int, spread: float) -> torch.nn.Module:
    """The module in evaluation mode with noise on its parameters, so that no bias or norm is trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return module.eval()


# Parameters whose first axis is the residual stream's channels.
_WRITES = re.compile(r"mlp\.fc2\.|patch_embed\.(proj|norm)\.|norm_pre\.|downsample\.reduction\.")


def uneven(module: torch.nn.Module) -> torch.nn.Module:
    """The module with residual channels of four sizes, which take different powers of two on their grids."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if _WRITES.search(name):
                sizes = 2.0 ** (1 - torch.arange(len(parameter)) % 4)
                parameter.mul_(sizes.view(-1, *[1] * (parameter.dim() - 1)))
            elif name in ("pos_embed", "cls_token", "dist_token", "reg_token"):
                parameter.mul_(2.0 ** (1 - torch.arange(parameter.shape[-1]) % 4))
    return module


def small_case(name: str, images: int, seed: int = 0) -> Case:
    """One of :data:`SMALL` with weights and images of a seed."""
    return built_case(name, SMALL[name], images, seed)


def built_case(name: str, build: Callable[[], torch.nn.Module], images: int, seed: int) -> Case:
    """A model of this name with weights and images of a seed, none of its parameters trivial."""
    torch.manual_seed(seed)
    module = uneven(moved(build(), seed + 1, 0.1))
    blueprint = blueprint_of(name, module)
    shape = (images, *blueprint.image_shape)
    return Case(module, blueprint, torch.randn(shape, generator=torch.Generator().manual_seed(seed + 2)), 64)


def layers_of(blueprint: Blueprint) -> list[EncoderLayers]:
    """The layers that carry genes."""
    return [EncoderLayers(i, e.name, tuple(e.linear())) for i, e in enumerate(blueprint.encoders)]


def config_of(blueprint: Blueprint, scheme: str, bits: Bits, choices: Choices = PLAIN) -> BitConfig:
    """One of :data:`ASSIGNMENTS`; ``"mixed <seed>"`` draws the format of every layer's operands."""
    if not isinstance(bits, str):
        return BitConfig.uniform(blueprint.name, scheme, layers_of(blueprint), bits)
    rng = np.random.default_rng(int(bits.removeprefix("mixed ")))

    def one(kind: Kind) -> FormatName:
        return choices.of(kind)[int(rng.choice(len(choices.of(kind))))]

    def drawn(kind: Kind, layers: EncoderLayers) -> tuple[tuple[str, FormatName], ...]:
        return tuple(sorted((layer, one(kind)) for layer in layers.linear))

    encoders = tuple(
        EncoderBits(
            layers.index,
            layers.name,
            drawn("weights", layers),
            drawn("activations", layers),
            one("attention"),
        )
        for layers in layers_of(blueprint)
    )
    return BitConfig(blueprint.name, scheme, encoders)


@functools.cache
def case(name: str) -> Case:
    """One of the small models, with images."""
    return small_case(name, 64)


@functools.cache
def calibrated(name: str, scheme: str, recipe: str, widths: tuple[int, ...] = WIDTHS) -> CalibratedModel:
    """What a recipe makes of it, calibrated on all images."""
    found, model = recipe_named(recipe), case(name)
    observer = observer_named(found.observer)
    return calibrate_model(
        model.blueprint, lambda: model.images.split(32), widths, found, observer, scheme, lambda share: None
    )


@functools.cache
def prepared(
    scheme: str,
    name: str,
    recipe: str = "best",
    widths: tuple[int, ...] = WIDTHS,
    kernels: Kernels | None = None,
) -> PreparedModel:
    """A prepared model that kept its codes."""
    found = calibrated(name, scheme, recipe, widths)
    return PreparedModel(
        found.blueprint,
        found.calibration,
        scheme,
        widths,
        recipe_named(recipe).weight_ranges,
        found.layers,
        found.log_steps,
        kernels,
        keep_codes=True,
    )
