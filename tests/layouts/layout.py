"""Layouts of weights and data by the tool that writes them: each is read right, or refused."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.context.float_check import preprocessing_words
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.models.digits_models import load_embedded
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.spaces import BitfrontError

DEIT = "digits_deit"
SHOWN = 170  # characters of a message in the table


@dataclass(frozen=True)
class Weights:
    """A checkpoint that was made, and what a right reading of it computes.

    Attributes:
        given: Arguments of ``load_model``.
        logits: Of the model that the tool has in memory, on images as :func:`digits` has them; those of the
            embedded model by default.
        images: float32 ``[n, channels, height, width]`` that ``logits`` are of.
    """

    given: Mapping[str, Any]
    logits: torch.Tensor | None = None
    images: torch.Tensor | None = None


@dataclass(frozen=True)
class Data:
    """Data that were made, and what a right reading of them is.

    Attributes:
        given: Fields of ``EvaluationSpec``, such as ``data``.
        labels: Index of the class of every image, by the file's path below the folder, or as
            ``ImageSource.describe`` ends.
    """

    given: Mapping[str, Any]
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One row: who writes it, what it is, and what is to come of it.

    Attributes:
        tool: Who writes it.
        holds: What is in it, in the words of the table.
        make: Writes it into an empty folder from scratch.
        refused: What the refusal says, as a part of the message; None where it is accepted.
        said: What is said beside, as a part of it; None for nothing in particular.
    """

    tool: str
    holds: str
    make: Callable[[Path], Weights | Data]
    refused: str | None = None
    said: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a layout.

    Attributes:
        error: The refusal; None where it was accepted.
        right: Whether what was read is what the tool meant.
        notes: What was said.
    """

    error: str | None
    right: bool
    notes: tuple[str, ...] = ()

    def words(self, layout: Layout) -> str:
        """The cell of the table."""
        if self.error is not None:
            return f"refused: {_short(self.error)}"
        if not self.right:
            return "**read wrong**"
        told = next((note for note in self.notes if layout.said and layout.said in note), None)
        return "read" if told is None else f"read: {_short(told)}"


def digits(count: int = 8) -> torch.Tensor:
    """Images of digits as ``digits_deit`` takes them."""
    import timm.data

    config = timm.data.resolve_data_config({}, model=load_embedded("digits_deit"))
    (batch, _), *_ = load_images(DigitsSource(), list(range(count)), config).batches(count)
    return batch


@functools.cache
def digits_logits() -> torch.Tensor:
    """Logits of the embedded model on :func:`digits`."""
    with torch.inference_mode():
        return load_embedded("digits_deit")(digits())


def tried(layout: Layout, folder: Path) -> Outcome:
    """Makes a layout in an empty folder and reads it as the program does."""
    made = layout.make(folder)
    heard = _Heard()
    logger = logging.getLogger("bitfront")
    before = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        right = (_weights if isinstance(made, Weights) else _data)(made, heard.lines.append)
    except BitfrontError as error:
        return Outcome(_without(str(error), folder), right=False)
    finally:
        logger.removeHandler(heard)
        logger.setLevel(before)
    return Outcome(None, right, tuple(_without(line, folder) for line in heard.lines))


class _Heard(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@torch.inference_mode()
def _weights(made: Weights, note: Callable[[str], None]) -> bool:
    """Whether the model that is read computes what the tool's own does, to the last bit."""
    loaded: LoadedModel = load_model(**{"name": DEIT, **made.given})
    for sentence in loaded.notes:
        note(sentence)
    note(f"images: {preprocessing_words(loaded)}")
    expected = digits_logits() if made.logits is None else made.logits
    images = digits() if made.images is None else made.images
    return torch.equal(loaded.module(images), expected)


def _data(made: Data, note: Callable[[str], None]) -> bool:
    """Whether every image has the label that the tool means, and none is missing."""
    from bitfront.evaluators.context.class_order import in_decided_order
    from bitfront.evaluators.context.preparing import source_of
    from bitfront.evaluators.context.spec import EvaluationSpec

    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", **made.given)
    _, source = in_decided_order(spec, load_model(DEIT), source_of(spec), note)
    images = load_images(source, range(len(source)), load_model(DEIT).data_config)
    for remark in images.remarks:
        note(remark)
    found = {}
    for index in map(int, images.indices):
        name = source.describe(index)
        found[next((key for key in made.labels if name.endswith(key)), name)] = int(source.labels[index])
    return found == dict(made.labels)


def _without(text: str, folder: Path) -> str:
    """A message without the folder's path."""
    return text.replace(f"{folder}/", "").replace(str(folder), "the folder")


def _short(text: str) -> str:
    text = text.replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= SHOWN else text[: text.rindex(" ", 0, SHOWN)] + " …"
