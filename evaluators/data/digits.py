"""The digits source: 1,797 real 8x8 scans of handwritten digits, bundled with scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import HELD_OUT, TRAIN

TRAIN_SHARE = 0.6
PARTITION_SEED = 20251  # part of the data set's definition: the embedded model never saw the held-out scans
LARGEST_VALUE = 16  # scans count the inked pixels of 4x4 blocks


class DigitsSource:
    """scikit-learn's bundled scans as 8x8 greyscale images, with a fixed stratified partition.

    The partition is the same for every run: 60 % ``train``, on which the embedded model is trained, and
    40 % ``held-out``.
    """

    name = "digits"

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        self.scans: NDArray[np.uint8] = np.rint(bunch.images * (255.0 / LARGEST_VALUE)).astype(np.uint8)
        self.labels: NDArray[np.int64] = bunch.target.astype(np.int64)
        self.partition: NDArray[np.str_] = np.full(len(self.labels), HELD_OUT)
        rng = np.random.default_rng(PARTITION_SEED)
        for label in np.unique(self.labels):
            members = rng.permutation(np.flatnonzero(self.labels == label))
            self.partition[members[: round(TRAIN_SHARE * len(members))]] = TRAIN
        self.class_names: tuple[str, ...] = tuple(str(name) for name in bunch.target_names)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        """The scan at ``index``, mode ``L``, 8x8."""
        return Image.fromarray(self.scans[index])

    def describe(self, index: int) -> str:
        """``digits scan <index>``."""
        return f"digits scan {index}"
