"""A runtime: loads an exported file, classifies with it, and tells which kernels it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bitfront.spaces import BitfrontError, UserError

FloatPrecision = Literal["f32", "bf16"]
Images = NDArray[np.float32]
# How runtimes begin lines that say where in their code an error was found.
_PLACES = ("Exception from", "Check '")


@dataclass(frozen=True)
class Product:
    """How a runtime executes one or more matrix products.

    Attributes:
        kernel: The runtime's name for what it runs, such as ``FullyConnected brgemm_avx512_I8``.
        integer: Whether its operands are 8-bit integers.
        count: Products that run so.
    """

    kernel: str
    integer: bool
    count: int


@dataclass(frozen=True)
class KernelReport:
    """The matrix products of a loaded model as its runtime executes them.

    Attributes:
        products: By kernel, the most frequent first.
    """

    products: tuple[Product, ...]

    @property
    def total(self) -> int:
        """All matrix products: linear layers, convolutions and both products of every attention."""
        return sum(product.count for product in self.products)

    @property
    def on_integers(self) -> int:
        """Those whose operands are 8-bit integers."""
        return sum(product.count for product in self.products if product.integer)


class Session(Protocol):
    """A loaded model."""

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Logits ``[batch, classes]`` of normalised float32 images ``[batch, channels, rows, columns]``.

        Raises:
            BitfrontError: The model takes other images.
        """

    def kernels(self) -> KernelReport:
        """What the runtime says of how it executes the model."""


class Runtime(Protocol):
    """A library that executes exported files.

    Attributes:
        name: As ``--runtime`` and ``--latency measured:NAME`` have it.
        version: Of the library.
        suffixes: Of the files that it reads.
        precisions: In which it can run what is not quantized.
    """

    name: str
    version: str
    suffixes: tuple[str, ...]
    precisions: tuple[FloatPrecision, ...]

    def load(
        self, path: Path, *, threads: int = 1, batch: int | None = None, precision: FloatPrecision = "f32"
    ) -> Session:
        """Loads a file.

        Args:
            path: The file.
            threads: Threads of one inference.
            batch: Images of every batch, where that is known: some runtimes are quicker then. Any number
                where None.
            precision: Of what is not quantized.

        Raises:
            UserError: The file is missing or no model that this runtime reads.
        """


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuses what cannot be a model's file, before a runtime is asked.

    Raises:
        UserError: The file is missing, no file, empty or of another kind.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: give one that bitfront export wrote")
    if path.suffix not in suffixes:
        raise UserError(f"{path} has the ending {path.suffix or 'none'!r}; expected {' or '.join(suffixes)}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: export it again")


def not_a_model(path: Path, runtime: str, error: Exception) -> UserError:
    """What to say where a runtime refuses a file."""
    return UserError(f"{path} cannot be loaded by {runtime} ({_reason(error)}): export it again")


def not_run(runtime: str, error: Exception) -> BitfrontError:
    """What to say where a runtime refuses images, as it does where a model is for others."""
    return BitfrontError(f"{runtime} cannot classify these images ({_reason(error)}): export the file again")


def _reason(error: Exception) -> str:
    """The first reason that is not a place in a runtime's code."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(_PLACES)]
    return reasons[0][:200] if reasons else type(error).__name__
