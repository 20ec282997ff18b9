"""The formats of exported files that compute, by name: their endings, and what runs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.spaces import UserError

ONNX, OPENVINO, PACKED = "onnx", "openvino", "packed"
# What runs packed files: this package.
BITFRONT = "bitfront"


@dataclass(frozen=True)
class FileFormat:
    """A format of files that compute.

    Attributes:
        suffix: Ending of such files.
        runtimes: Runtimes that run them, the one that they are verified in first.
    """

    suffix: str
    runtimes: tuple[str, ...]


FORMATS: dict[str, FileFormat] = {
    PACKED: FileFormat(".safetensors", (BITFRONT,)),
    ONNX: FileFormat(".onnx", tuple(RUNTIMES)),
    OPENVINO: FileFormat(".xml", ("openvino",)),
}


def check_suffix(path: Path) -> None:
    """Refuses files of other kinds, and missing ones.

    Raises:
        UserError: See above.
    """
    suffixes = [kind.suffix for kind in FORMATS.values()]
    if path.suffix not in suffixes:
        raise UserError(
            f"{path} has the ending {path.suffix or 'none'!r}: expected a file that bitfront export wrote "
            f"({', '.join(suffixes)})"
        )
    try:
        found = path.is_file()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not found:
        raise UserError(f"no such file: {path}; expected one that bitfront export wrote")


def runtime_for(path: Path, name: str | None) -> str:
    """The runtime that a file is verified in.

    Raises:
        UserError: The runtime named does not read such files.
    """
    known = next(kind.runtimes for kind in FORMATS.values() if kind.suffix == path.suffix)
    if name is None:
        return known[0]
    if name not in known:
        raise UserError(f"--runtime {name} does not read {path.suffix} files, which run in {known[0]}")
    return name
