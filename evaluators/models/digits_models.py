"""Small models of scikit-learn's digits: the embedded default, and a ViT and a Swin to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch is loaded where a model is built: names and defaults are read without it
    from torch import nn

CLASSES = 10
EMBEDDED = "digits_deit"  # the one whose weights are shipped
WEIGHTS = "weights/digits_deit.safetensors"
MEAN, STD = 0.306, 0.319  # of the training scans
# So narrow that precision matters: at width 96 every assignment of 4 and 8 bits keeps the float model's top-1
# but for noise, and a search has nothing to find.
_DEIT: dict[str, Any] = {
    "patch_size": 2, "embed_dim": 32, "depth": 12, "num_heads": 2, "mlp_ratio": 2.0, "qkv_bias": True,
}  # fmt: skip
_VIT: dict[str, Any] = {
    "patch_size": 5, "embed_dim": 48, "depth": 6, "num_heads": 2, "mlp_ratio": 2.0,
    "class_token": False, "reg_tokens": 3, "no_embed_class": True, "global_pool": "avg",
}  # fmt: skip
# Windows of 4x4 in a grid of 8x8, where the second encoder shifts them, and then one window of 4x4.
_SWIN: dict[str, Any] = {
    "patch_size": 2, "embed_dim": 32, "depths": (2, 4), "num_heads": (2, 4), "mlp_ratio": 2.0,
    "window_size": 4, "drop_path_rate": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class DigitsModel:
    """An architecture for greyscale digits.

    Attributes:
        name: As the user gives it.
        side: Rows and columns of an image, to which the 8x8 scans are enlarged.
        options: Of timm's constructor.
        windowed: Whether it is a ``SwinTransformer``, or else a ``VisionTransformer``.
        epochs: Passes over the scans that its training takes by default.
        learning_rate: Largest learning rate of its training.
    """

    name: str
    side: int
    options: Mapping[str, Any]
    windowed: bool
    epochs: int
    learning_rate: float


DIGITS_MODELS: dict[str, DigitsModel] = {
    model.name: model
    for model in (
        DigitsModel(EMBEDDED, 16, _DEIT, windowed=False, epochs=120, learning_rate=1e-3),
        DigitsModel("digits_vit", 20, _VIT, windowed=False, epochs=60, learning_rate=3e-3),
        DigitsModel("digits_swin", 16, _SWIN, windowed=True, epochs=60, learning_rate=3e-3),
    )
}


def build_digits(name: str, *, classes: int = CLASSES, **further: Any) -> nn.Module:
    """A timm module with random weights; ``digits_deit`` has 64 patches and 107 thousand parameters.

    Args:
        name: Of the model.
        classes: Of its classifier.
        further: Arguments of timm's constructor in place of the model's own, such as ``img_size``.
    """
    from torch import nn

    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    model = DIGITS_MODELS[name]
    family: type[nn.Module] = SwinTransformer if model.windowed else VisionTransformer
    module = family(
        in_chans=1,
        num_classes=classes,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        **{"img_size": model.side, **model.options, **further},
    )
    module.pretrained_cfg = {  # type: ignore[assignment]
        "architecture": name,
        "num_classes": classes,
        "input_size": (1, model.side, model.side),
        "fixed_input_size": True,
        "mean": (MEAN,),
        "std": (STD,),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc" if model.windowed else "head",
    }
    return module


def load_embedded() -> nn.Module:
    """``digits_deit`` with its embedded weights, in float32 and evaluation mode."""
    from safetensors.torch import load

    embedded = resources.files("bitfront.evaluators.models").joinpath(WEIGHTS).read_bytes()
    module = build_digits(EMBEDDED)
    module.load_state_dict({name: value.float() for name, value in load(embedded).items()})
    return module.eval()
