"""Classifiers of timm of any family: to be trained, to teach and to be compared with, not to be quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.files import split_entry
from bitfront.evaluators.models.architecture import read_architecture
from bitfront.evaluators.models.checkpoint import load_strictly
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.entries import chosen_entry
from bitfront.evaluators.models.families import check_family
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.models.outlines import constructed, model_outline
from bitfront.evaluators.models.preprocessing import Beside, beside, resolved_of_channels
from bitfront.evaluators.models.weights_file import read_weights_file, weights_in
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

_NO_OPTIONS = ImageOptions()


def is_quantized(name: str, checkpoint: str | Path | None = None) -> bool:
    """Whether bitfront quantizes a model: a built-in one, timm's ViTs, DeiTs and Swins, or a given one.

    Args:
        name: Of the model.
        checkpoint: Its weights file, which may describe a model that timm does not know by its name.

    Raises:
        UserError: timm knows no such model, or there is no such file.
    """
    if name in DIGITS_MODELS or ":" in name:
        return True  # those of a hub or a folder bring a configuration that others cannot be built from
    if checkpoint is not None and read_architecture(weights_in(Path(split_entry(str(checkpoint))[0]))):
        return True
    outline = model_outline(name)
    try:
        check_family(name, outline)
    except UserError:
        return False
    return True


def load_classifier(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    options: ImageOptions = _NO_OPTIONS,
) -> LoadedModel:
    """Loads a classifier with its weights: as :func:`load_model` where bitfront quantizes it, or else timm's.

    Args:
        name: Of a built-in model, or any of timm's.
        checkpoint: A weights file, or ``FILE:ENTRY``; its classifier decides the number of classes, and
            timm's ``config.json`` beside it how images are preprocessed.
        pretrained: Take timm's weights from the hub.
        options: Image size and preprocessing in place of the model's own.

    Raises:
        UserError: It is unknown, or its weights cannot be used.
        BitfrontError: The hub's weights cannot be had.
    """
    if is_quantized(name, checkpoint):
        return load_model(name, checkpoint=checkpoint, pretrained=pretrained, options=options)
    ensure_torchvision()
    found = Beside()
    if pretrained:
        module, weights = _from_hub(name), "timm's weights"
    elif checkpoint is not None:
        module, path = _from_file(name, str(checkpoint))
        weights, found = f"checkpoint {checkpoint}", beside(path, name)
    else:
        raise UserError(
            f"{name} has no weights without a source: pass a weights file, or take timm's with --pretrained"
        )
    module = module.float().eval().requires_grad_(False)
    config = classifier_preprocessing(module, options, found)
    return LoadedModel(name, module, config, int(module.num_classes), weights, notes=found.notes)


def untrained_classifier(name: str, classes: int, options: ImageOptions = _NO_OPTIONS) -> LoadedModel:
    """A classifier of a family that bitfront does not quantize, with random weights.

    Args:
        name: timm's name.
        classes: Of its head.
        options: Image size and preprocessing in place of the model's own.
    """
    ensure_torchvision()
    module = constructed(name, classes, {})
    config = classifier_preprocessing(module, options, Beside())
    return LoadedModel(name, module, config, classes, "random")


def classifier_preprocessing(module: Any, options: ImageOptions, found: Beside) -> dict[str, Any]:
    """How images become what a network sees that takes them in any size, as timm resolves it.

    Args:
        module: timm's, with its ``pretrained_cfg``.
        options: What was asked for.
        found: What lies beside the weights.

    Raises:
        UserError: It takes another size alone.
    """
    own = module.pretrained_cfg
    asked, usual = options.image_size, tuple(own["input_size"][1:])
    if own.get("fixed_input_size") and asked not in (None, usual):
        raise UserError(
            f"{own['architecture']} takes images of {usual[0]}x{usual[1]} alone: leave --image-size out"
        )
    first = own["first_conv"]
    layer: Any = module.get_submodule(first if isinstance(first, str) else first[0])
    sides = asked or found.image_size or usual
    return resolved_of_channels(module, int(layer.in_channels), sides, options, found)[0]


def _from_hub(name: str) -> Any:
    import timm

    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # no network, proxies, a full disk: the hub's clients raise many types
        raise BitfrontError(
            f"timm's weights for {name} cannot be downloaded ({one_line(error, 200)}); offline, give a file "
            "of weights"
        ) from error


def _from_file(name: str, place: str) -> tuple[Any, Path]:
    file, entry = split_entry(place)
    path = weights_in(Path(file))
    state = dict(chosen_entry(read_weights_file(path), path, entry).state)
    named: Any = model_outline(name).pretrained_cfg
    classifier = named["classifier"]
    head = state.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    if head is None:
        raise UserError(f"{file} has no classifier {classifier} of {name}: give a fine-tuned one")
    module = constructed(name, len(head), {})
    load_strictly(module, state, name, path)
    return module, path
