"""Loading of float models by name: the built-in models, or timm's vision transformers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.files import split_entry
from bitfront.evaluators.models.architecture import Architecture, check_digest, read_architecture
from bitfront.evaluators.models.checkpoint import (
    Checkpoint,
    check_fit,
    classes_of,
    load_strictly,
    read_checkpoint,
)
from bitfront.evaluators.models.description import described
from bitfront.evaluators.models.digits_models import DIGITS_MODELS, build_digits, has_weights, load_embedded
from bitfront.evaluators.models.families import check_family
from bitfront.evaluators.models.form import Form, built_at, form_of, interpolated
from bitfront.evaluators.models.outlines import constructed, model_outline
from bitfront.evaluators.models.preprocessing import (
    GIVEN,
    Beside,
    beside,
    built_in_size,
    resolved_preprocessing,
    unlike_training,
)
from bitfront.evaluators.models.weights_file import weights_in
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A float model that is ready to be evaluated.

    Attributes:
        name: As the user gave it.
        module: In evaluation mode and float32, without gradients.
        data_config: timm's resolved preprocessing: ``input_size``, ``mean``, ``std``, ``crop_pct``, ...
        classes: Number of classes.
        weights: Where the weights come from, for records.
        architecture: What rebuilds the module where its name does not: it was given as a Python object, or
            its weights or an option make it another one.
        notes: What was decided about weights and architecture, a sentence each.
        origins: Where a part of ``data_config`` is from that is not the model's own.
        decided: What files decided, by fields of the evaluation spec: an entry of the checkpoint and
            :class:`ImageOptions`. With these the same comes of the weights alone.
        adapted: Whether ``architecture`` says what weights or options made of the named model.
    """

    name: str
    module: nn.Module
    data_config: dict[str, Any]
    classes: int
    weights: str
    architecture: Architecture | None = None
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    decided: Mapping[str, Any] = field(default_factory=dict)
    adapted: bool = False


@dataclass(frozen=True, eq=False)
class _Made:
    """A module with weights, and what is known of them."""

    module: Any
    weights: str
    form: Form = field(default_factory=Form)
    notes: tuple[str, ...] = ()
    beside: Beside = field(default_factory=Beside)
    architecture: Architecture | None = None
    place: str | None = None
    trained_with: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    untrained: bool = False,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - it is frozen
) -> LoadedModel:
    """Loads a digits model, or one of timm's of a supported family; others are refused before any download.

    Args:
        name: The model's name; timm's may carry a tag (``deit_tiny_patch16_224.fb_in1k``), or be a model of
            the hub (``hf-hub:timm/NAME``) or of a folder (``local-dir:PATH``), which bring their weights.
        checkpoint: A weights file to load, or ``FILE:ENTRY`` for one of several sets of weights in it; its
            classifier decides the number of classes, its tensors image size and pooling. Where it describes
            the architecture, as that of a model given as a Python object does, the name is only compared.
        pretrained: Take timm's weights from the hub (a built-in model that has embedded ones takes these).
        num_classes: The number of classes that the weights must have.
        untrained: Whether a model without a source of weights gets random ones, for what depends on its
            shapes alone.
        options: Image size and preprocessing in place of the model's own.

    Raises:
        UserError: Unknown name, a model that no scheme covers, no weights or two kinds of them, or weights
            that do not fit.
        BitfrontError: The hub's weights cannot be had.
    """
    if checkpoint is not None and pretrained:
        raise UserError("both --checkpoint and --pretrained were given; expected one source of weights")
    made = _made(name, checkpoint, pretrained, num_classes, untrained, options)
    classes = int(made.module.num_classes)
    _check_classes(name, classes, num_classes)
    module = made.module.float().eval().requires_grad_(False)
    config, origins = resolved_preprocessing(module, options, made.beside)
    decided: dict[str, Any] = {key: config[key] for key, source in origins.items() if source != GIVEN}
    if made.place is not None:
        decided["checkpoint"] = made.place
    if made.form.decided:
        decided["image_size"] = built_in_size(module)
    architecture = made.architecture
    if architecture is None and (made.form.arguments or ":" in name):
        architecture = described(name, module, config)
    unlike = unlike_training(config, {k: v for k, v in made.trained_with.items() if k not in options.asked()})
    notes = (*made.notes, *made.form.notes, *made.beside.notes, *unlike)
    for sentence in notes:
        log.info("%s", sentence)
    adapted = architecture is not None and made.architecture is None
    return LoadedModel(
        name, module, config, classes, made.weights, architecture, notes, origins, decided, adapted
    )


def _made(
    name: str,
    checkpoint: str | Path | None,
    pretrained: bool,
    num_classes: int | None,
    untrained: bool,
    options: ImageOptions,
) -> _Made:
    if checkpoint is not None:
        return _from_checkpoint(name, *split_entry(str(checkpoint)), num_classes, options.image_size)
    size = options.image_size
    resized: dict[str, Any] = {} if size is None else {"img_size": size}
    outline = model_outline(name)
    if size is not None:
        outline = built_at(name, lambda further: model_outline(name, further=further), resized, size)
    check_family(name, outline)
    if has_weights(name):
        embedded: Any = load_embedded(name)
        if not resized:
            return _Made(embedded, "embedded")
        module: Any = build_digits(name, **resized)
        module.load_state_dict(interpolated(name, module, embedded.state_dict(), None))
        return _Made(module, "embedded", Form(resized))
    if untrained and not pretrained and ":" not in name:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _Made(constructed(name, None, resized), "random", Form(resized))
    if name in DIGITS_MODELS:
        raise UserError(
            f"{name} has no embedded weights: make some with `bitfront train --model {name}`, "
            f"then pass --checkpoint {name}.safetensors"
        )
    if pretrained or ":" in name:
        return _Made(*_from_hub(name, outline, num_classes, resized), Form(resized))
    raise UserError(
        f"{name} has no weights without a source: pass --checkpoint FILE, or --pretrained for timm's own "
        "(random weights have no accuracy to keep)"
    )


def _from_checkpoint(
    name: str, file: str, entry: str | None, num_classes: int | None, image_size: tuple[int, int] | None
) -> _Made:
    path = weights_in(Path(file))
    architecture = read_architecture(path)
    outline = model_outline(name, architecture=architecture)
    check_family(name, outline)
    if architecture is not None:
        if image_size not in (None, built_in_size(outline)):
            size = "x".join(map(str, built_in_size(outline)))
            raise UserError(f"{path} describes a model for images of {size}: leave --image-size out")
        module = _from_description(architecture, outline, path)
        return _Made(module, f"checkpoint {file}", architecture=architecture)
    weights, settings = read_checkpoint(path, entry), beside(path, name)
    classes = num_classes or classes_of(weights.state)
    _check_class_heads(name, outline, weights)

    def build(further: Mapping[str, Any]) -> nn.Module:
        return model_outline(name, classes, further=further)

    form = form_of(name, build, weights, image_size, settings.image_size)
    if form.arguments:
        check_family(name, build(form.arguments))
    module = constructed(name, classes, form.arguments)
    own = module.pretrained_cfg
    state = interpolated(name, module, weights.state, form.told)
    module.pretrained_cfg = own
    load_strictly(module, state, name, weights.path)
    place = f"{file}:{weights.entry}" if weights.others else None
    return _Made(
        module,
        weights.origin,
        form,
        weights.notes(),
        settings,
        place=place,
        trained_with=weights.trained_with,
    )


def _check_class_heads(name: str, outline: Any, weights: Checkpoint) -> None:
    """Refuses weights without a classifier, or with that of another kind of the same model.

    Raises:
        UserError: There is none, or one of a distilled model too many or too few.
    """
    state, path = weights.state, weights.path
    if "head_dist.weight" in state and not hasattr(outline, "head_dist"):
        raise UserError(
            f"{path} has the two classifiers of a distilled DeiT (head_dist), and {name} has one: pass "
            "--model with _distilled, such as deit_tiny_distilled_patch16_224"
        )
    if hasattr(outline, "head_dist") and "head.weight" in state and "head_dist.weight" not in state:
        plain = "leave _distilled out of --model" if "dist_token" not in state else "expected both"
        raise UserError(f"{path} has one classifier, and {name} has two (head_dist): {plain}")
    if "patch_embed.proj.weight" in state and classes_of(state) is None:
        raise UserError(
            f"{path} has no classifier (head.weight), such as after self-supervised training; expected the "
            "weights of a fine-tuned model"
        )


def _from_description(architecture: Architecture, outline: nn.Module, path: Path) -> nn.Module:
    """The model that a weights file describes: it takes memory only once the file is known to fill it."""
    state = read_checkpoint(path).state
    check_fit(outline, state, architecture.name, path)
    check_digest(path, architecture, state)
    with torch.random.fork_rng(devices=[]):
        module = architecture.build()
    module.load_state_dict(state)
    return module


def _from_hub(
    name: str, outline: Any, num_classes: int | None, further: Mapping[str, Any]
) -> tuple[nn.Module, str]:
    """A model with timm's weights, and where they come from."""
    import timm

    _check_classes(name, int(outline.num_classes), num_classes)
    known = outline.pretrained_cfg
    address = name if ":" in name else known.get("hf_hub_id") or known.get("url")
    if not address:
        raise UserError(f"timm has no pretrained weights for {name}; pass --checkpoint FILE")
    try:
        return timm.create_model(name, pretrained=True, **further), f"pretrained {address}"
    except Exception as error:  # no network, proxies, a full disk: the hub's clients raise many types
        raise BitfrontError(
            f"timm's weights for {name} cannot be downloaded ({one_line(error, 200)}); "
            "offline, pass --checkpoint FILE"
        ) from error


def _check_classes(name: str, classes: int, expected: int | None) -> None:
    if classes < 1:
        raise UserError(f"{name} has no classifier; expected one: pass a fine-tuned --checkpoint")
    if expected is not None and classes != expected:
        raise UserError(f"{name} has {classes} classes; expected {expected}: pass a --checkpoint with those")
