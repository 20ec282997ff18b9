"""The form of a checkpoint's model: what its tensors say beyond its name, as timm's constructor takes it."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.checkpoint import Checkpoint, State
from bitfront.evaluators.models.families import WINDOWED, family_file, timm_family
from bitfront.evaluators.models.preprocessing import built_in_size
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

Size = tuple[int, int]
# Builds a model of the name that was given on the meta device.
Build = Callable[[Mapping[str, Any]], nn.Module]
TABLE = "relative_position_bias_table"
_RESIZED = ("pos_embed", TABLE)


@dataclass(frozen=True)
class Form:
    """How the model of a checkpoint differs from the one that its name alone builds.

    Attributes:
        arguments: Of timm's constructor, beside the number of classes.
        notes: What was decided, a sentence each.
        decided: Whether the weights, and not an option, decided the image size.
        told: Image size for which the weights were made, as far as they tell.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    decided: bool = False
    told: Size | None = None


def form_of(name: str, build: Build, weights: Checkpoint, asked: Size | None, hinted: Size | None) -> Form:
    """Finds the image size, windows and pooling that a checkpoint's tensors are for.

    Args:
        name: Of the model.
        build: Builds it with further arguments.
        weights: The checkpoint.
        asked: Image size that was asked for; None to take that of the checkpoint.
        hinted: Image size that a configuration beside the weights names.

    Raises:
        UserError: The tensors are of another image size than the name's, and do not tell which; or no model
            of that size can be built.
    """
    outline: Any = build({})
    hinted, family = weights.trained_at or hinted, timm_family(outline)
    if family in WINDOWED:
        return _swin_form(name, build, outline, weights, asked, hinted)
    return Form() if family is None else _vit_form(name, build, outline, weights, asked, hinted)


def _vit_form(
    name: str, build: Build, outline: Any, weights: Checkpoint, asked: Size | None, hinted: Size | None
) -> Form:
    arguments, notes = _pooling(name, outline, weights.state)
    usual, patch = built_in_size(outline), outline.patch_embed.patch_size
    named = hinted, usual, asked
    count = _positions(outline, weights.state, without_class=arguments.get("class_token") is False)
    tables = set(_tables(weights.state).values())
    told: Size | None = usual
    if count is not None:
        told = _told_by_positions(count, patch, named)
    elif tables:
        count = max(tables)
        told = _told_by_tables(outline, count, named)
    if told is None and asked is None:
        what = "entries of relative positions" if tables else "patches"
        raise UserError(
            f"{weights.path} has positions for {count} {what}, which are no square grid of patches of "
            f"{_sides(patch)}: give its image size with --image-size HxW"
        )
    size = asked or told or usual
    if size != usual:
        arguments["img_size"] = size
        outline = built_at(name, build, arguments, size)
    if asked is None and size != usual:
        notes.append(
            f"image size: {_sides(size)}, for which {weights.path} has positions "
            f"({name} alone: {_sides(usual)})"
        )
    elif told != size and count is not None:
        origin = _sides(told) if told else f"{count} positions"
        notes.append(f"image size: {_sides(size)}, with positions interpolated from those of {origin}")
    elif told != size:
        notes.append(f"image size: {_sides(size)}, as given ({name} alone: {_sides(usual)})")
    return Form(arguments, tuple(notes), asked is None and size != usual, told)


def _positions(outline: Any, state: State, *, without_class: bool) -> int | None:
    """Patches that a state dict has positions for; None where it or the model has no such positions."""
    positions: torch.Tensor | None = state.get("pos_embed")
    if positions is None or positions.ndim != 3 or getattr(outline, "pos_embed", None) is None:
        return None
    if getattr(outline, "no_embed_class", False):
        return int(positions.shape[1])
    return int(positions.shape[1]) - int(outline.num_prefix_tokens) + int(without_class)


def _told_by_tables(outline: Any, entries: int, named: Iterable[Size | None]) -> Size | None:
    """The image size of tables of relative positions: a named one with as many entries, or else a square."""
    rows, columns = map(int, outline.patch_embed.patch_size)

    def distances(size: Size) -> int:
        return (2 * (size[0] // rows) - 1) * (2 * (size[1] // columns) - 1)

    # Pairs with a class token have entries of their own.
    own = max(_tables(outline.state_dict()).values(), default=0) - distances(built_in_size(outline))
    for size in named:
        if size is not None and distances(size) == entries - own:
            return size
    side = math.isqrt(max(entries - own, 0))
    return None if side * side != entries - own else ((side // 2 + 1) * rows, (side // 2 + 1) * columns)


def _pooling(name: str, outline: Any, state: State) -> tuple[dict[str, Any], list[str]]:
    """How tokens are read, where the names of the last norm and of the class token show another way."""
    arguments: dict[str, Any] = {}
    if timm_family(outline) != "VisionTransformer":
        return {}, []
    plain_pool = outline.global_pool == "token" and not hasattr(outline, "head_dist")
    shown = "fc_norm.weight" in state and "norm.weight" not in state
    if shown and plain_pool and isinstance(outline.fc_norm, nn.Identity):
        arguments |= {"global_pool": "avg", "fc_norm": True}
    if "cls_token" not in state and outline.cls_token is not None and "pos_embed" in state and plain_pool:
        arguments |= {"class_token": False, "global_pool": "avg"}
        arguments.setdefault("fc_norm", "fc_norm.weight" in state)
    if not arguments:
        return {}, []
    how = "no class token" if "class_token" in arguments else "fc_norm in place of norm"
    return arguments, [
        f"pooling: the average of the tokens, as the weights show ({how}; {name} alone: a token)"
    ]


def _told_by_positions(count: int, patch: Size, named: Iterable[Size | None]) -> Size | None:
    """The image size for a number of patches: a named one that has as many, or else a square."""
    for size in named:
        if (
            size is not None
            and math.prod(side // unit for side, unit in zip(size, patch, strict=True)) == count
        ):
            return size
    side = math.isqrt(max(count, 0))
    return (side * patch[0], side * patch[1]) if side and side * side == count else None


def _swin_form(
    name: str, build: Build, outline: Any, weights: Checkpoint, asked: Size | None, hinted: Size | None
) -> Form:
    usual = built_in_size(outline)
    told = _told_by_masks(outline, weights) or hinted
    size = asked or told or usual
    arguments: dict[str, Any] = {} if size == usual else {"img_size": size}
    built = outline if size == usual else built_at(name, build, arguments, size)
    notes = []
    if size != usual:
        origin = "as given" if asked else f"which {weights.path} was made for"
        notes.append(f"image size: {_sides(size)}, {origin} ({name} alone: {_sides(usual)})")
    elif told not in (None, size):
        notes.append(f"image size: {_sides(size)}, as given ({weights.path} was made for {_sides(told)})")
    theirs, ours = _tables(weights.state), _tables(built.state_dict())
    if theirs.keys() != ours.keys() or theirs == ours:
        return Form(arguments, tuple(notes), asked is None and size != usual)
    window = math.isqrt(max(theirs.values())) // 2 + 1
    fitted = _with_window(build, arguments, window, theirs) if asked or told else None
    if fitted is not None:
        notes.append(f"windows: {window}x{window}, for which {weights.path} has tables")
        return Form(fitted, tuple(notes), asked is None and size != usual)
    if asked is None:
        raise UserError(
            f"{weights.path} has tables for windows of {window}x{window}, and {name} has none such at "
            f"{_sides(size)}: pass the --model that it was trained as, or its image size with --image-size"
        )
    notes.append(f"windows: those of {name}, with tables interpolated from {window}x{window}")
    return Form(arguments, tuple(notes))


def _with_window(
    build: Build, arguments: Mapping[str, Any], window: int, tables: Mapping[str, int]
) -> dict[str, Any] | None:
    """Arguments with windows that a file's tables are for; None where they do not fit or need padding."""
    found = {**arguments, "window_size": window}
    try:
        built: Any = build(found)
    except (UserError, AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError):
        return None
    blocks = [block for stage in built.layers for block in stage.blocks]
    whole = all(
        side % part == 0 for b in blocks for side, part in zip(b.input_resolution, b.window_size, strict=True)
    )
    return found if whole and _tables(built.state_dict()) == tables else None


def _tables(state: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Rows of the tables of relative positions, by name."""
    return {name: len(value) for name, value in state.items() if name.endswith(TABLE) and value.ndim == 2}


def _told_by_masks(outline: Any, weights: Checkpoint) -> Size | None:
    """The image size for which masks of shifted windows were made, ``[windows, tokens, tokens]``."""
    for index, _ in enumerate(outline.layers):
        for name, shape in (weights.buffers or {}).items():
            if name.startswith(f"layers.{index}.") and name.endswith("attn_mask") and len(shape) == 3:
                side = math.isqrt(shape[0] * shape[1])
                if side * side == shape[0] * shape[1]:
                    rows, columns = outline.patch_embed.patch_size
                    return side * rows * 2**index, side * columns * 2**index
    return None


def built_at(name: str, build: Build, arguments: Mapping[str, Any], size: Size) -> Any:
    """The outline of a model for images of another size.

    Raises:
        UserError: timm cannot build it.
    """
    try:
        return build(arguments)
    except (AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{name} cannot be built for images of {_sides(size)} ({one_line(error, 120)}): give another "
            "--image-size"
        ) from error


def interpolated(name: str, module: Any, state: State, told: Size | None) -> State:
    """A state dict whose positions are of another size, resampled by timm to those of a module.

    Every other tensor stays as it is, so that others that do not fit are still found.
    """
    expected = module.state_dict()
    resized = [
        key
        for key, value in state.items()
        if key.endswith(_RESIZED) and key in expected and expected[key].shape != value.shape
    ]
    if not resized or state.get("patch_embed.proj.weight", torch.empty(0)).shape != (
        expected["patch_embed.proj.weight"].shape
    ):
        return state
    # Each of timm's files has its own, which knows what is to be resampled in its models.
    resample: Any = importlib.import_module(family_file(module)).checkpoint_filter_fn
    if "flexi" in name:  # as timm does for models of that name
        resample = partial(resample, interpolation="bilinear", antialias=False)
    if told is not None:  # of which timm makes the grid of the positions, where that is no square
        channels = int(module.patch_embed.proj.in_channels)
        module.pretrained_cfg = {**(module.pretrained_cfg or {}), "input_size": (channels, *told)}
    found = resample(dict(state), module)
    return {**state, **{key: found[key] for key in resized}}


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
