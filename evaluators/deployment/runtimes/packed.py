"""Packed files on a CPU, executed by this package with the evaluator's own kernels."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision, Images, KernelReport, Session
from bitfront.evaluators.packed.file import read_packed


class _PackedSession:
    """A packed file; see :class:`bitfront.evaluators.deployment.runtimes.runtime.Session`."""

    def __init__(self, path: Path) -> None:
        self._model = read_packed(path).assemble()

    def __call__(self, images: Images) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._model(torch.from_numpy(images)).numpy()
        return found

    def kernels(self) -> KernelReport:
        """Nothing to report: these are the evaluator's own kernels."""
        return KernelReport(())


class PackedRuntime:
    """This package; see :class:`bitfront.evaluators.deployment.runtimes.runtime.Runtime`."""

    name = "bitfront"
    suffixes: tuple[str, ...] = (".safetensors",)
    precisions: tuple[FloatPrecision, ...] = ("f32",)

    def __init__(self) -> None:
        self.version = version(self.name)

    def load(
        self,
        path: Path,
        *,
        threads: int = 1,  # noqa: ARG002 - torch's own number of threads holds
        batch: int | None = None,  # noqa: ARG002 - any batch takes the same code
        precision: FloatPrecision = "f32",  # noqa: ARG002 - integers have none
    ) -> Session:
        """Loads a file.

        Raises:
            UserError: The file is missing, foreign or damaged.
        """
        return _PackedSession(path)
