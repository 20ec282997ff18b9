"""The header of a packed file: its JSON document, written, and read without believing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from bitfront.evaluators.packed.tensors import LENGTH_BYTES, StoredTensor
from bitfront.evaluators.preparation.recipes import INGREDIENTS, Recipe
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.spaces import BitConfig, UserError

FORMAT = "bitfront/packed"
VERSION = 1
_LONGEST_NAME = 200
# Name of the one text in its metadata: of several, safetensors would not keep the order.
DOCUMENT = "document"
# Many times what the largest models have.
LARGEST_HEADER = 1 << 23


@dataclass(frozen=True)
class PackedDocument:
    """What a packed file says about itself.

    Attributes:
        model: Name of the architecture.
        classes: Of its classifier.
        recipe: What it was prepared with.
        config: Its bits.
        bit_config: The bit config document, with what was measured and where it comes from.
    """

    model: str
    classes: int
    recipe: Recipe
    config: BitConfig
    bit_config: Mapping[str, Any]

    def to_text(self, tensors: Mapping[str, torch.Tensor]) -> str:
        """As JSON in one line, with the digest of itself and of the tensors that it is about.

        Raises:
            TypeError: The bit config document is not made of JSON values.
            ValueError: It holds NaN or infinity.
        """
        document = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "classes": self.classes,
            "recipe": self.recipe.name,
            "ingredients": list(self.recipe.ingredients),
            "config": self.bit_config,
        }
        digest = fingerprint({"document": _canonical(document), "tensors": tensors})
        return _canonical({**document, "digest": digest})

    @classmethod
    def from_text(cls, text: str) -> PackedDocument:
        """Reads JSON of whatever origin.

        Raises:
            UserError: It is not the document of a packed file of this version.
        """
        document = _parsed(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UserError(f"its document has no format {FORMAT!r}")
        if document.get("version") != VERSION:
            raise UserError(f"its version is {document.get('version')!r:.40}; expected {VERSION}")
        model, classes = document.get("model"), document.get("classes")
        if not isinstance(model, str) or not model.isprintable() or len(model) > _LONGEST_NAME:
            raise UserError(f"its model is {model!r:.40}; expected the name of one")
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise UserError(f"it has {classes!r:.40} classes; expected 1 or more")
        config = document.get("config")
        if not isinstance(config, dict):
            raise UserError("it has no bit config")
        return cls(model, classes, _recipe(document), BitConfig.from_json(config), config)


def check_digest(text: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Compares a document and the tensors beside it with the digest that the document has of both.

    Raises:
        UserError: They have been changed.
    """
    document = dict(_parsed(text))
    digest = document.pop("digest", None)
    if digest != fingerprint({"document": _canonical(document), "tensors": tensors}):
        raise UserError("its content differs from its digest: it is damaged")


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _parsed(text: str) -> Any:
    """The value of a JSON text that can be written again."""
    try:
        document = json.loads(text)
        _canonical(document)
    except (ValueError, RecursionError) as error:
        raise UserError("its document is not JSON, or nested too deep") from error
    return document


def _recipe(document: Mapping[str, Any]) -> Recipe:
    name, ingredients = document.get("recipe"), document.get("ingredients")
    if not isinstance(name, str) or not isinstance(ingredients, list):
        raise UserError("it does not say which recipe it was prepared with")
    unknown = [ingredient for ingredient in ingredients if ingredient not in list(INGREDIENTS)]
    if unknown:
        raise UserError(f"its recipe has an unknown ingredient {unknown[0]!r:.40}")
    return Recipe(name, tuple(ingredients))


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
