"""Checkpoints: reading a weights file without running any code in it, and loading it strictly."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from bitfront.evaluators.models.pickle_inspection import foreign_names
from bitfront.evaluators.models.swin_checkpoint import under_timm_names
from bitfront.spaces import UserError

log = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model", "model_ema", "ema")
PARALLEL_PREFIX = "module."
HEADS = ("head.weight", "head.fc.weight")  # of ViTs and Swins
_SHOWN = 3

State = dict[str, torch.Tensor]


def read_checkpoint(path: Path) -> State:
    """Reads a state dict, plain or below one of ``WRAPPERS``, as float32.

    ``.safetensors`` files are read as such, everything else with torch's restricted unpickler.

    Raises:
        UserError: The file is missing, no weights file, would run code, or holds values that are not finite.
    """
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}; expected a .safetensors file or a torch state dict")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = _unwrap(content, path)
    for name, value in state.items():
        if not value.is_floating_point() or value.layout is not torch.strided:
            raise UserError(
                f"{path}: {name} holds {value.dtype} values; expected dense floating-point weights"
            )
        if not bool(value.isfinite().all()):
            raise UserError(
                f"{path}: {name} holds values that are not finite; expected neither NaN nor infinity"
            )
    return {name: value.float() for name, value in state.items()}


def classes_of(state: Mapping[str, torch.Tensor]) -> int | None:
    """Number of classes of the classifier in a checkpoint; None where it has none."""
    for head in HEADS:
        if head in state and state[head].ndim == 2:
            return len(state[head])
    return None


def load_strictly(module: nn.Module, state: State, name: str, path: Path) -> None:
    """Copies a checkpoint into a module of the same tensors and shapes.

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
    module.load_state_dict(state)


def _remedy(key: str, state: State) -> str:
    if key in HEADS and (classes := classes_of(state)) is not None:
        return f"; the file's classifier has {classes} classes: leave the number of classes to the checkpoint"
    return "; expected a checkpoint of this very architecture: pass the --model it was trained as"


def _listed(kind: str, keys: list[str]) -> str:
    shown = f" ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})" if keys else ""
    return f"{len(keys)} tensors {kind}{shown}"


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {_one_line(error)}") from error


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about pickle protocols and TorchScript: the errors below say more
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        foreign = foreign_names(path)
        if foreign:
            raise UserError(
                f"{path} was refused because loading it would run code ({_first(foreign)}); expected plain "
                "tensors: save the state dict alone, best as .safetensors"
            ) from error
        reason = "" if "weights_only" in str(error) else f" ({_one_line(error)})"
        raise UserError(
            f"{path} is not a readable weights file{reason}; "
            "expected a .safetensors file or a torch state dict"
        ) from error


def _unwrap(content: object, path: Path) -> State:
    found = content
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            found = content[wrapper]
            log.info("%s: weights taken from the entry %r", path, wrapper)
            break
    if not isinstance(found, Mapping) or not found or not _all_tensors(found.values()):
        raise UserError(
            f"{path} does not hold a state dict; expected named tensors, plain or under {', '.join(WRAPPERS)}"
        )
    return under_timm_names({str(name).removeprefix(PARALLEL_PREFIX): value for name, value in found.items()})


def _all_tensors(values: Iterable[object]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in values)


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
