"""Labelled image files; what class folders and tables are read as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import decode_image


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Labelled files; satisfies :class:`~bitfront.evaluators.data.source.ImageSource`.

    Attributes:
        name: What the user called it.
        root: The folder that the files are relative to.
        files: Paths relative to ``root``, with forward slashes.
        labels: Class indices, shape ``[images]``.
        partition: ``train`` or ``held-out`` for every image, or None.
        class_names: Name of every class index, or None.
        remarks: What was left out or is out of the common, a sentence each.
        two_orders: Whether these are class folders in the plain order, and timm's gives other labels.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    partition: NDArray[np.str_] | None = None
    class_names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    two_orders: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> Image.Image:
        """The decoded file at ``index``; raises CorruptImageError where it cannot be read."""
        return decode_image(self.root / self.files[index], self.describe(index))

    def describe(self, index: int) -> str:
        """The file's path, starting at the source's folder."""
        return str(self.root / self.files[index])
