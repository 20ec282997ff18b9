"""The state of a refinement in its folder: what it goes on from after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bitfront.evaluators.files import check_writable
from bitfront.evaluators.preparation.tensor_file import read_tensors, write_tensors
from bitfront.spaces import UserError

STATE = "refinement_state.safetensors"
_KIND = "bitfront/refinement-state"
_REMEDY = "remove it to begin from the start"


@dataclass(frozen=True)
class Done:
    """What was learned so far.

    Attributes:
        encoders: How many learned in their turn.
        losses: Of the passes of all encoders together.
    """

    encoders: int
    losses: tuple[float, ...]


def keep_state(folder: Path, work: str, tensors: Mapping[str, torch.Tensor], done: Done) -> None:
    """Writes the state, whole or not at all.

    Args:
        folder: Where.
        work: What identifies the refinement.
        tensors: What the learning behind it depends on.
        done: What was learned.

    Raises:
        UserError: The folder is not writable.
    """
    document = {"work": work, "encoders": done.encoders, "losses": list(done.losses)}
    write_tensors(folder / STATE, _KIND, tensors, document)


def kept_state(folder: Path, work: str) -> tuple[dict[str, torch.Tensor], Done] | None:
    """What a folder, made where it is missing, has of tensors and of what was learned; None where nothing.

    Raises:
        UserError: It is damaged or of another refinement, or the folder is not writable.
    """
    path = folder / STATE
    check_writable(path, make_folder=True)
    if not path.exists():
        return None
    tensors, document = read_tensors(path, _KIND, _REMEDY)
    if document.get("work") != work:
        raise UserError(
            f"{path} is the state of another refinement (other images, bits or settings): choose another "
            f"folder, or {_REMEDY}"
        )
    return tensors, Done(int(document["encoders"]), tuple(map(float, document["losses"])))


def clear_state(folder: Path) -> None:
    """Removes the state, where there is one."""
    (folder / STATE).unlink(missing_ok=True)
