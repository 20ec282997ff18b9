"""Bundle transfer: a bundle is sent to a worker in pieces and kept there while the worker lives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from distributed import Worker

# Pieces pass through the scheduler, which must not choke on them.
PIECE_BYTES = 16 * 2**20
FOLDER = "bitfront-bundles"

_received: dict[str, Path] = {}


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
    for offset in range(0, max(len(content), 1), PIECE_BYTES):
        await run(receive_piece, digest, len(content), offset, content[offset : offset + PIECE_BYTES])
    await run(accept_bundle, spec_json, digest)


def receive_piece(digest: str, size: int, offset: int, content: bytes, dask_worker: Worker) -> None:
    """Writes a piece below the worker's own temporary folder, which Dask removes with the worker.

    Args:
        digest: SHA-256 of the whole bundle in hexadecimal digits; names the file on the worker.
        size: Of the whole bundle, in bytes.
        offset: Position of the piece in the bundle, in bytes.
        content: The piece.
        dask_worker: The worker, which Dask passes.
    """
    path = _place(dask_worker, digest)
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(size)
        file.seek(offset)
        file.write(content)


def accept_bundle(spec_json: str, digest: str, dask_worker: Worker) -> None:
    """Makes a bundle known to evaluations, if it arrived whole.

    Raises:
        BitfrontError: It did not.
    """
    path = _place(dask_worker, digest)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise BitfrontError(f"what was sent to {dask_worker.address} arrived damaged")
    _received[spec_json] = path


def _place(worker: Worker, digest: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a SHA-256 in hexadecimal digits")
    return Path(worker.local_directory) / FOLDER / f"{digest}.safetensors"
