"""The state of a refinement in its folder: what it goes on from after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from bitfront.evaluators.files import check_writable
from bitfront.evaluators.preparation.tensor_file import read_tensors, write_tensors
from bitfront.spaces import UserError

STATE = "refinement_state.safetensors"
_KIND = "bitfront/refinement-state"
_REMEDY = "remove it to begin from the start"


def keep_state(folder: Path, work: str, tensors: Mapping[str, torch.Tensor], losses: Sequence[float]) -> None:
    """Writes the state, whole or not at all.

    Args:
        folder: Where.
        work: What identifies the refinement.
        tensors: What the next pass depends on.
        losses: Of the passes that are done.

    Raises:
        UserError: The folder is not writable.
    """
    write_tensors(folder / STATE, _KIND, tensors, {"work": work, "losses": list(losses)})


def kept_state(folder: Path, work: str) -> tuple[dict[str, torch.Tensor], list[float]] | None:
    """The state in a folder, which is made where it is missing: tensors and losses; None where there is none.

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
    return tensors, [float(loss) for loss in document["losses"]]


def clear_state(folder: Path) -> None:
    """Removes the state, where there is one."""
    (folder / STATE).unlink(missing_ok=True)
