"""Small models of scikit-learn's digits, plain and cluttered: two come with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.data.registry import CLUTTERED, DIGITS

if TYPE_CHECKING:  # torch is loaded where a model is built: names and defaults are read without it
    from torch import nn

CLASSES = {DIGITS: 10, CLUTTERED: 1000}
# Of a search, unless others are asked for; at 4 bits, weights of cluttered_deit lose little.
WIDTHS, WIDER_RANGE = (4, 8), (2, 4, 8)
DEFAULT = "cluttered_deit"
MEANS, STDS = (
    {DIGITS: 0.306, CLUTTERED: 0.123},
    {DIGITS: 0.319, CLUTTERED: 0.272},
)  # about those of what is trained on
# Wide enough for integers to be quicker than floats on a CPU: 96 wide they are 1.2 times as quick, 64 wide
# not at all. Heads of 64 channels are quicker than twice as many of 32.
_CLUTTERED_DEIT: dict[str, Any] = {
    "patch_size": 4, "embed_dim": 128, "depth": 12, "num_heads": 2, "mlp_ratio": 2.0, "qkv_bias": True,
}  # fmt: skip
_CLUTTERED_VIT: dict[str, Any] = {
    "patch_size": 4, "embed_dim": 96, "depth": 6, "num_heads": 3, "mlp_ratio": 4.0,
    "class_token": False, "reg_tokens": 3, "no_embed_class": True, "global_pool": "avg",
}  # fmt: skip
# Windows of 6x6 in a grid of 12x12, where every other encoder shifts them, and then one window of 6x6.
_CLUTTERED_SWIN: dict[str, Any] = {
    "patch_size": 3, "embed_dim": 64, "depths": (2, 4), "num_heads": (2, 4), "mlp_ratio": 4.0,
    "window_size": 6, "drop_path_rate": 0.0,
}  # fmt: skip
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
        data: ``digits``, plain scans, or ``cluttered``.
        side: Rows and columns of an image, to which the 8x8 scans are enlarged.
        options: Of timm's constructor.
        windowed: Whether it is a ``SwinTransformer``, or else a ``VisionTransformer``.
        epochs: Passes over the scans that its training takes by default.
        learning_rate: Largest learning rate of its training.
        batch: Images of a step of its training.
        parts: Parts of a batch whose gradients are computed at a time, where there are threads for it.
        warmup: Share of the training in which the learning rate rises.
        second_moment: Decay of Adam's mean of squared gradients.
        positions: Amplitude of the initial positions.
        embedded: Whether its weights are shipped.
        widths: What it is searched with by default.
    """

    name: str
    data: str
    side: int
    options: Mapping[str, Any]
    windowed: bool
    epochs: int
    learning_rate: float
    batch: int = 64
    parts: int = 1
    warmup: float = 0.1
    second_moment: float = 0.999
    positions: float = 1.0
    embedded: bool = False
    widths: tuple[int, ...] = WIDTHS


# Where a digit is has to tell in a token from the start: with positions of amplitude 1, and squared gradients
# averaged over longer, it takes more steps until anything is learned.
_cluttered = partial(
    DigitsModel,
    data=CLUTTERED,
    side=36,
    epochs=100,
    learning_rate=5e-4,
    batch=16,
    parts=2,
    warmup=0.02,
    second_moment=0.95,
    positions=2.0,
    widths=WIDER_RANGE,
)
_digits = partial(DigitsModel, data=DIGITS)
DIGITS_MODELS: dict[str, DigitsModel] = {
    model.name: model
    for model in (
        _cluttered(DEFAULT, options=_CLUTTERED_DEIT, windowed=False, embedded=True),
        _cluttered("cluttered_vit", options=_CLUTTERED_VIT, windowed=False),
        _cluttered("cluttered_swin", options=_CLUTTERED_SWIN, windowed=True),
        _digits(
            "digits_deit",
            side=16,
            options=_DEIT,
            windowed=False,
            epochs=120,
            learning_rate=1e-3,
            embedded=True,
        ),
        _digits("digits_vit", side=20, options=_VIT, windowed=False, epochs=60, learning_rate=3e-3),
        _digits("digits_swin", side=16, options=_SWIN, windowed=True, epochs=60, learning_rate=3e-3),
    )
}


def data_of(model: str) -> str:
    """The data that a model is made for, by its name; ``digits`` for others."""
    return DIGITS_MODELS[model].data if model in DIGITS_MODELS else DIGITS


def widths_of(model: str) -> tuple[int, ...]:
    """The widths that a model is searched with by default, by its name."""
    return DIGITS_MODELS[model].widths if model in DIGITS_MODELS else WIDTHS


def has_weights(model: str) -> bool:
    """Whether a model of this name comes with its weights."""
    return model in DIGITS_MODELS and DIGITS_MODELS[model].embedded


def build_digits(name: str, *, classes: int | None = None, **further: Any) -> nn.Module:
    """A timm module with random weights.

    Args:
        name: Of the model.
        classes: Of its classifier, by default those of its data.
        further: Arguments of timm's constructor in place of the model's own, such as ``img_size``.
    """
    from torch import nn

    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    model = DIGITS_MODELS[name]
    classes = classes or CLASSES[model.data]
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
        "mean": (MEANS[model.data],),
        "std": (STDS[model.data],),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc" if model.windowed else "head",
    }
    return module


def load_embedded(name: str) -> nn.Module:
    """A model with its embedded weights, in float32 and evaluation mode."""
    from safetensors.torch import load

    file = f"weights/{name}.safetensors"
    embedded = resources.files("bitfront.evaluators.models").joinpath(file).read_bytes()
    module = build_digits(name)
    module.load_state_dict({key: value.float() for key, value in load(embedded).items()})
    return module.eval()
