"""Checkpoints: reading weights files without running code in them, loading them strictly, writing them."""

from __future__ import annotations

import io
import json
import logging
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import torch
from torch import nn

from bitfront.evaluators.files import write_atomically
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

log = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model", "model_ema", "ema")
PARALLEL_PREFIX = "module."
HEADS = ("head.weight", "head.fc.weight")  # of ViTs and Swins
_SHOWN = 3  # names in a message

# What a file of plain tensors refers to: torch.FloatStorage, torch._utils._rebuild_tensor_v2, ...
_TENSOR_FORMAT = re.compile(
    r"torch\.\w+|torch\.(_\w+|storage|nn\.parameter)\..*|collections\.OrderedDict|numpy\..*"
)
_NAMING = {"GLOBAL", "STACK_GLOBAL", "INST"}
_LARGEST_PICKLE = 64 * 2**20
_BUFFER = re.compile(r"\.(relative_position_index|attn_mask)$")  # computed from the architecture
_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")
_PUBLISHED = "layers.0.downsample.reduction.weight"


def foreign_names(path: Path) -> tuple[str, ...]:
    """Functions and classes other than those of tensors that unpickling a file would import.

    Reads plain pickles and torch's two formats; nothing is imported or called. Empty for files that are
    no pickles.
    """
    names = (name for stream in _streams(path) for name in _imported(stream))
    return tuple(dict.fromkeys(name for name in names if not _TENSOR_FORMAT.fullmatch(name)))


def _streams(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield io.BytesIO(file.read(_LARGEST_PICKLE))
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                with archive.open(name) as member:
                    yield io.BytesIO(member.read(_LARGEST_PICKLE))


def _imported(stream: IO[bytes]) -> Iterator[str]:
    """Dotted names in the order of the opcodes; torch's legacy format is several pickles in a row."""
    strings: list[str] = []
    while True:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in _NAMING:
                    # STACK_GLOBAL takes the two strings before it, the others carry both in their argument
                    parts = strings[-2:] if argument is None else str(argument).split(" ")
                    yield ".".join(parts)
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # the pickles have ended, or this never was one: genops raises many types
            return


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
    return f"{len(keys)} tensors {kind}{f' ({_first(keys)})' if keys else ''}"


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {one_line(error, 160)}") from error


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # Of pickle protocols and TorchScript: the errors below say more.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch raise many types
        foreign = foreign_names(path)
        if foreign:
            raise UserError(
                f"{path} was refused because loading it would run code ({_first(foreign)}); expected plain "
                "tensors: save the state dict alone, best as .safetensors"
            ) from error
        reason = "" if "weights_only" in str(error) else f" ({one_line(error, 160)})"
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
    if not isinstance(found, Mapping) or {isinstance(value, torch.Tensor) for value in found.values()} != {
        True
    }:
        raise UserError(
            f"{path} does not hold a state dict; expected named tensors, plain or under {', '.join(WRAPPERS)}"
        )
    return under_timm_names({str(name).removeprefix(PARALLEL_PREFIX): value for name, value in found.items()})


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


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
