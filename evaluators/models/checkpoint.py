"""Checkpoints: which weights of a file are taken, under timm's names; loading them strictly, writing them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.data.image_options import read_image_options
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.models.entries import chosen_entry
from bitfront.evaluators.models.transformers_names import from_transformers, of_transformers
from bitfront.evaluators.models.weights_file import first_of, read_weights_file, weights_in
from bitfront.spaces import UserError

State = dict[str, torch.Tensor]

HEADS = ("head.weight", "head.fc.weight")  # of ViTs and Swins
_BUFFER = re.compile(r"(^|\.)(relative_position_index|attn_mask)$")  # computed from the architecture
_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")
_PUBLISHED = "layers.0.downsample.reduction.weight"
# Values of a tensor by bytes of its file: more are views that repeat a few, which no weights file needs.
_MOST_VALUES = 8


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights of a file.

    Attributes:
        path: The file; in a folder that was given, the one that was found there.
        state: Tensors in float32, under timm's names.
        entry: Where they are in the file, such as ``state_dict_ema``; empty where they are all there is.
        others: Entries with other weights of the same model.
        buffers: Shapes of buffers that the architecture decides, by name: windows show the resolution.
        trained_at: Image size (height, width) that a training script recorded beside the weights.
        trained_with: Preprocessing that it recorded, by the fields of :class:`ImageOptions`.
        left_out: Tensors beside the model, such as a criterion's.
    """

    path: Path
    state: State
    entry: str = ""
    others: tuple[str, ...] = ()
    buffers: Mapping[str, tuple[int, ...]] | None = None
    trained_at: tuple[int, int] | None = None
    trained_with: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where the weights come from, for records."""
        taken = f", entry {self.entry} (there are also {', '.join(self.others)})" if self.others else ""
        return f"checkpoint {self.path}{taken}"

    def notes(self) -> tuple[str, ...]:
        """What has to be said of them, a sentence each."""
        found = []
        if self.others:
            others = ", ".join(self.others)
            found.append(
                f"weights: {self.path} holds several: {self.entry} is taken, not {others} "
                f"(--checkpoint FILE:{self.others[0]} takes another)"
            )
        if self.left_out:
            found.append(f"weights: left out of {self.path}, beside the model: {first_of(self.left_out)}")
        return tuple(found)


def read_checkpoint(path: Path, entry: str | None = None) -> Checkpoint:
    """Reads the weights of a file, or of the weights file in a folder.

    Of averaged and plain weights in one file the averaged ones are taken, as timm does.

    Args:
        path: safetensors or one of torch's formats, whatever its suffix; read without running code.
        entry: Which weights to take, as a dotted name in the file; None to choose.

    Raises:
        UserError: The file is missing, no weights file, would run code, lacks the entry, holds several
            of which none is the usual one, or values that are not finite floating-point numbers.
    """
    path = weights_in(path)
    content = read_weights_file(path)
    chosen = chosen_entry(content, path, entry)
    arguments = _training_arguments(content)
    buffers = {name: tuple(value.shape) for name, value in chosen.state.items() if _BUFFER.search(name)}
    state = {name: value for name, value in chosen.state.items() if name not in buffers}
    size = path.stat().st_size
    state = {name: _as_float(name, value, path, size) for name, value in state.items()}
    if of_transformers(chosen.state):
        try:
            state = from_transformers(state)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return Checkpoint(
        path,
        under_timm_names(state),
        chosen.name,
        chosen.others,
        buffers,
        _trained_at(arguments),
        _trained_with(arguments),
        chosen.left_out,
    )


def _as_float(name: str, value: torch.Tensor, path: Path, size: int) -> torch.Tensor:
    if value.is_meta:
        raise UserError(f"{path}: {name} holds no values (it is on the meta device): save the loaded model")
    quantized = "quantized " if value.is_quantized else ""
    if quantized or not value.is_floating_point() or value.layout is not torch.strided:
        sparse = "" if value.layout is torch.strided else "sparse "
        raise UserError(
            f"{path}: {name} holds {quantized}{sparse}{value.dtype} values; expected dense "
            "floating-point weights"
        )
    if value.numel() > _MOST_VALUES * size:
        raise UserError(f"{path}: {name} repeats few values {value.numel()} times; expected plain weights")
    found = value.detach().float()
    if not bool(found.isfinite().all()):
        raise UserError(f"{path}: {name} holds values that are not finite; expected neither NaN nor infinity")
    return found


def _training_arguments(content: object) -> Mapping[str, Any]:
    """The arguments of a training script, where it records them beside the weights."""
    args = content.get("args") if isinstance(content, Mapping) else None
    return args if isinstance(args, Mapping) else getattr(args, "__dict__", {})


def _trained_with(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of timm's preprocessing the arguments of a training script set, as far as it can be read."""
    found: dict[str, Any] = {}
    for name in ("mean", "std", "crop_pct", "crop_mode", "interpolation"):
        with suppress(UserError):
            if fields.get(name) not in (None, ""):
                found |= read_image_options({name: fields[name]})
    return found


def _trained_at(fields: Mapping[str, Any]) -> tuple[int, int] | None:
    """The image size in the arguments of a training script."""
    for name in ("img_size", "input_size"):
        size = fields.get(name)
        sides = (size, size) if type(size) is int else size
        if not isinstance(sides, list | tuple) or len(sides) not in (2, 3):
            continue
        if all(type(side) is int and side > 0 for side in sides):
            return int(sides[-2]), int(sides[-1])
    return None


def under_timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict without window buffers and with patch mergings where timm has them.

    The authors' code merges patches at the end of a stage, timm at the start of the next one. A checkpoint
    of any other layout keeps its names.
    """
    weights = {name: value for name, value in state.items() if not _BUFFER.search(name)}
    if _PUBLISHED not in weights:
        return weights

    def renamed(name: str) -> str:
        if name.startswith("head."):
            return f"head.fc.{name.removeprefix('head.')}"
        return _MERGE.sub(lambda match: f"layers.{int(match[1]) + 1}.downsample.", name)

    return {renamed(name): value for name, value in weights.items()}


def classes_of(state: Mapping[str, torch.Tensor]) -> int | None:
    """Number of classes of the classifier in a checkpoint; None where it has none."""
    return next((len(state[head]) for head in HEADS if head in state and state[head].ndim == 2), None)


def check_fit(module: nn.Module, state: State, name: str, path: Path) -> None:
    """Compares a checkpoint with a module, which may be on the meta device, tensor by tensor.

    Raises:
        UserError: Tensors are missing, unexpected or of another shape.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    if missing or unexpected:
        raise UserError(
            f"{path} does not fit {name}: {_listed('missing', missing)}, "
            f"{_listed('unexpected', unexpected)}; "
            "expected a checkpoint of this very architecture under timm's tensor names"
        )
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise UserError(
                f"{path} does not fit {name}: {key} has shape {list(state[key].shape)} in the file and "
                f"{list(value.shape)} in the model{_remedy(key, state)}"
            )


def load_strictly(module: nn.Module, state: State, name: str, path: Path) -> None:
    """Copies a checkpoint into a module of the same tensors and shapes.

    Raises:
        UserError: Tensors are missing, unexpected or of another shape.
    """
    check_fit(module, state, name, path)
    module.load_state_dict(state)


def _remedy(key: str, state: State) -> str:
    if key in HEADS and (classes := classes_of(state)) is not None:
        return f"; the file's classifier has {classes} classes: leave the number of classes to the checkpoint"
    return "; expected a checkpoint of this very architecture: pass the --model it was trained as"


def _listed(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} tensors {kind}{f' ({first_of(keys)})' if keys else ''}"


def round_to_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous float16 copies of all tensors."""
    return {name: value.detach().half().contiguous() for name, value in state.items()}


def write_weights(state: Mapping[str, torch.Tensor], path: Path, facts: Mapping[str, object]) -> None:
    """Writes tensors, with ``facts`` as JSON strings in the header; the file appears only when complete.

    Raises:
        UserError: The folder does not exist or cannot be written.
        BitfrontError: The disk is full.
    """
    from safetensors.torch import save

    header = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    write_atomically(path, save(dict(state), metadata=header))
