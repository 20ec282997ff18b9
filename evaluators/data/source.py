"""Image sources: labelled images that can be loaded one by one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.spaces import BitfrontError

TRAIN = "train"
HELD_OUT = "held-out"


class CorruptImageError(BitfrontError):
    """An image that cannot be decoded; the message names the file and the reason."""


class ImageSource(Protocol):
    """A labelled collection of images."""

    @property
    def name(self) -> str:
        """How the source is called in records, such as ``digits``."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of every image, shape ``[images]``."""

    @property
    def partition(self) -> NDArray[np.str_] | None:
        """``train`` or ``held-out`` for every image, where the source has such a division; else None."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of every class index, where the source knows them; else None."""

    def __len__(self) -> int:
        """Number of images."""

    def load(self, index: int) -> Image.Image:
        """The decoded image at ``index``, in its own mode and size.

        Raises:
            CorruptImageError: The image cannot be read.
        """

    def describe(self, index: int) -> str:
        """The item's name for messages, such as its file name."""
