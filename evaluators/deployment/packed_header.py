"""The header of a packed file, read without believing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from bitfront.evaluators.stored_tensor import LENGTH_BYTES, StoredTensor
from bitfront.spaces import UserError

# Name of the one text in its metadata: of several, safetensors would not keep the order.
DOCUMENT = "document"
# Many times what the largest models have.
LARGEST_HEADER = 1 << 23


@dataclass(frozen=True)
class PackedHeader:
    """What a file says about its tensors.

    Attributes:
        content: The bytes of the header and of its length.
        document: The text in its metadata.
        entries: Descriptions of the tensors by name, as they are written.
    """

    content: bytes
    document: str
    entries: Mapping[str, Any]

    @classmethod
    def read(cls, file: BinaryIO, size: int) -> PackedHeader:
        """Reads the beginning of a file of ``size`` bytes.

        Raises:
            UserError: It is not the header of a safetensors file with a document.
        """
        start = file.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < LENGTH_BYTES or not 0 < length <= size - LENGTH_BYTES:
            raise UserError("it is truncated, or not a safetensors file")
        if length > LARGEST_HEADER:
            raise UserError(f"its header has {length} bytes; expected at most {LARGEST_HEADER}")
        text = file.read(length)
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError("its header is not JSON, or nested too deep") from error
        if not isinstance(entries, dict):
            raise UserError("its header is not a JSON object")
        texts = entries.pop("__metadata__", None)
        document = texts.get(DOCUMENT) if isinstance(texts, dict) else None
        if not isinstance(document, str):
            raise UserError("it is a safetensors file without the document of a packed model")
        return cls(start + text, document, entries)

    def check(self, expected: Iterable[StoredTensor], size: int) -> None:
        """Compares the descriptions, and the size of the file, with the tensors that there must be.

        Raises:
            UserError: They differ.
        """
        found = {tensor.name: tensor for tensor in expected}
        if unknown := sorted(self.entries.keys() - found.keys()):
            raise UserError(f"it has a tensor {unknown[0]!r:.80}, which its configuration does not have")
        for name, tensor in found.items():
            if name not in self.entries:
                raise UserError(f"it has no tensor {name}, which its configuration has")
            entry = self.entries[name]
            kind = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (entry, None)
            if kind != (tensor.dtype, list(tensor.shape)):
                raise UserError(
                    f"its tensor {name} is {kind[0]!s:.40} {kind[1]!s:.40}; "
                    f"expected {tensor.dtype} {list(tensor.shape)}"
                )
        whole = len(self.content) + sum(tensor.nbytes for tensor in found.values())
        if size != whole:
            raise UserError(f"it has {size} bytes; its tensors need {whole}: it is truncated or overwritten")
