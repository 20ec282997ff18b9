"""Bundle transfer: a bundle is sent to a worker in pieces and kept there while the worker lives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from distributed import Worker


# Pieces pass through the scheduler, which must not choke on them.
PIECE_BYTES = 16 * 2**20
FOLDER = "bitfront-bundles"

_received: dict[str, Path] = {}


@dataclass(frozen=True)
class Piece:
    """A part of a bundle.

    Attributes:
        digest: SHA-256 of the whole bundle in hexadecimal digits; names the file on the worker.
        offset: Position of the content in the bundle, in bytes.
        size: Of the whole bundle, in bytes.
        content: The bytes.
    """

    digest: str
    offset: int
    size: int
    content: bytes


def received_bundle(spec_json: str) -> Path | None:
    """The file that this process was sent for a spec, if it was sent one."""
    return _received.get(spec_json)


async def send_bundle(run: Callable[..., Awaitable[object]], spec_json: str, content: bytes) -> None:
    """Sends a bundle to a worker.

    Args:
        run: Calls a function with arguments on the worker.
        spec_json: The spec that the bundle is for.
        content: The bundle.
    """
    digest = hashlib.sha256(content).hexdigest()
    for offset in _offsets(len(content)):
        piece = Piece(digest, offset, len(content), content[offset : offset + PIECE_BYTES])
        await run(receive_piece, piece)
    await run(accept_bundle, spec_json, digest)


def receive_piece(piece: Piece, dask_worker: Worker) -> None:
    """Writes a piece below the worker's own temporary folder, which Dask removes with the worker."""
    path = _place(Path(dask_worker.local_directory), piece.digest)
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(piece.size)
        file.seek(piece.offset)
        file.write(piece.content)


def accept_bundle(spec_json: str, digest: str, dask_worker: Worker) -> None:
    """Makes a bundle known to evaluations, if it arrived whole.

    Raises:
        BitfrontError: It did not.
    """
    path = _place(Path(dask_worker.local_directory), digest)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise BitfrontError(f"what was sent to {dask_worker.address} arrived damaged")
    _received[spec_json] = path


def _place(folder: Path, digest: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a SHA-256 in hexadecimal digits")
    return folder / FOLDER / f"{digest}.safetensors"


def _offsets(size: int) -> Iterator[int]:
    return iter(range(0, max(size, 1), PIECE_BYTES))
