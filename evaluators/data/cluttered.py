"""Cluttered digits: three distorted scans side by side, among pieces of others (Mnih et al. 2014).

Canvases are composed from scikit-learn's scans when they are loaded. Mnih et al., *Recurrent Models of Visual
Attention* (2014), put a digit in a random place and pieces of others around it; Jaderberg et al., *Spatial
Transformer Networks* (2015), distort it as well. Here it is a number of three digits, and the class is the
number: a model has to have read all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.source import HELD_OUT, SEARCH, TEST, TRAIN

SIDE = 36
# Of a number; a class is a number of so many.
DIGITS_READ = 3
PIECES = 8
# Rows and columns of a piece, in pixels of the canvas.
PIECE = 5
# Canvases of each use; the seed is part of their definition, as the shares of the held-out scans are.
CANVASES = {TRAIN: 500, SEARCH: 1000, TEST: 4000}
SCAN_SHARES = {TRAIN: 1 / 6, SEARCH: 1 / 3, TEST: 1 / 2}
SEED = 20261
# To fine-tune and to distil with, of the scans that no split has.
TRAINING_CANVASES = 20_000
# Blank rows and columns around a scan, so that ink at its border is interpolated and not cut.
MARGIN = 2
# Rows and columns that hold any distorted scan.
_BOX = 24


@dataclass(frozen=True)
class Distortion:
    """Ranges of distortions; every scan draws its own, uniformly.

    Attributes:
        enlargement: Least and largest pixels of the canvas to a pixel of the scan, drawn for each axis.
        rotation: Largest, in radians, either way.
        shear: Largest horizontal shift per unit of height, either way.
    """

    enlargement: tuple[float, float]
    rotation: float
    shear: float

    def apply(self, scan: Image.Image, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
        """A distorted scan by four draws from 0 to 1, cut to its ink ``[height, width]``."""
        least, largest = self.enlargement
        wide, high = least + (largest - least) * draws[:2]
        angle, shear = (2.0 * draws[2] - 1.0) * self.rotation, (2.0 * draws[3] - 1.0) * self.shear
        cos, sin = math.cos(angle), math.sin(angle)
        # from the canvas back to the scan: the inverse of [rotation][shear][enlargement]
        a, b = (cos + shear * sin) / wide, (sin - shear * cos) / wide
        c, d = -sin / high, cos / high
        middle, scan_middle = _BOX / 2, scan.width / 2
        offsets = scan_middle - middle * (a + b), scan_middle - middle * (c + d)
        rows = (a, b, offsets[0], c, d, offsets[1])
        moved = scan.transform((_BOX, _BOX), Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC)
        left, top, right, bottom = moved.getbbox() or (0, 0, 1, 1)
        return np.asarray(moved)[top:bottom, left:right]


DIGIT = Distortion(enlargement=(1.1, 1.6), rotation=0.35, shear=0.3)
CLUTTER = Distortion(enlargement=(1.1, 1.6), rotation=math.pi, shear=0.3)


class Canvases:
    """Composes canvases from some scans.

    Args:
        scans: 8x8 greyscale, of which digits and pieces are drawn ``[scans, 8, 8]``.
    """

    def __init__(self, scans: NDArray[np.uint8]) -> None:
        framed = np.pad(scans, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
        self._scans = [Image.fromarray(scan) for scan in framed]

    def compose(
        self, scans: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A canvas ``[SIDE, SIDE]`` and the digit that each of its pixels is in ``[SIDE, SIDE]``.

        Where inks meet, the stronger one stays. Digits are counted from the left; -1 is beside all of them.

        Args:
            scans: Positions of the scans that are its number, from left to right.
            rng: Draws everything.
        """
        canvas, within = np.zeros((SIDE, SIDE), dtype=np.uint8), np.full((SIDE, SIDE), -1)
        draws = rng.random((PIECES + len(scans), 8))
        for other, draw in zip(rng.integers(len(self._scans), size=PIECES), draws, strict=False):
            _add(canvas, _cut(CLUTTER.apply(self._scans[other], draw), draw[4:6]), draw[6], draw[7])
        draws = draws[PIECES:]
        digits = [DIGIT.apply(self._scans[scan], draw) for scan, draw in zip(scans, draws, strict=True)]
        free, left = max(0, SIDE - sum(digit.shape[1] for digit in digits)), 0.0
        gaps = free * np.diff(np.sort(draws[:, 4]), prepend=0.0)
        for at, (digit, gap, draw) in enumerate(zip(digits, gaps, draws, strict=True)):
            left += gap
            place = _add(canvas, digit, draw[5], left / max(1, SIDE - digit.shape[1]))
            within[place] = at
            left += digit.shape[1]
        return canvas, within


def _cut(ink: NDArray[np.uint8], draws: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A piece from anywhere in a distorted scan."""
    top, left = (int(draw * max(1, size - PIECE + 1)) for draw, size in zip(draws, ink.shape, strict=True))
    return ink[top : top + PIECE, left : left + PIECE]


def _add(
    canvas: NDArray[np.uint8], ink: NDArray[np.uint8], down: float, across: float
) -> tuple[slice, slice]:
    """Adds ink to the canvas, whole, and returns where; both shares are of the room that it leaves."""
    ink = ink[:SIDE, :SIDE]
    top, left = (
        min(int(share * (SIDE - size + 1)), SIDE - size)
        for share, size in zip((down, across), ink.shape, strict=True)
    )
    place = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
    np.maximum(canvas[place], ink, out=canvas[place])
    return place


class ClutteredDigitsSource:
    """Cluttered digits as 36x36 greyscale images, composed when they are loaded, always the same.

    Canvases to calibrate on, to search with and to report on are composed from scans of their own; those that
    models are trained on (:func:`training_scans`) are in none of them.
    """

    name = "cluttered"

    def __init__(self) -> None:
        digits = DigitsSource()
        self.class_names = tuple(f"{number:0{DIGITS_READ}d}" for number in range(10**DIGITS_READ))
        rng = np.random.default_rng(SEED)
        uses: list[str] = []
        labels, self._scans, self._canvases = [], [], {}
        for use, members in _by_use(digits, rng).items():
            scans = rng.integers(len(members), size=(CANVASES[use], DIGITS_READ))
            uses += [use] * len(scans)
            labels.append(number_of(digits.labels[members[scans]]))
            self._scans += scans.tolist()
            self._canvases[use] = Canvases(digits.scans[members])
        self.labels: NDArray[np.int64] = np.concatenate(labels)
        self.partition: NDArray[np.str_] = np.array(uses)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        """The canvas at ``index``, mode ``L``, 36x36."""
        rng = np.random.default_rng((SEED, index))
        canvas, _ = self._canvases[str(self.partition[index])].compose(self._scans[index], rng)
        return Image.fromarray(canvas)

    def describe(self, index: int) -> str:
        """``cluttered canvas <index>``."""
        return f"cluttered canvas {index}"


class CanvasesToTrainOn:
    """Cluttered digits of the scans that are for training alone, composed when they are loaded."""

    name = "cluttered (training scans)"
    partition = None

    def __init__(self) -> None:
        scans, digits = training_scans()
        self.class_names = tuple(f"{number:0{DIGITS_READ}d}" for number in range(10**DIGITS_READ))
        chosen = np.random.default_rng((SEED, 1)).integers(len(scans), size=(TRAINING_CANVASES, DIGITS_READ))
        self.labels: NDArray[np.int64] = number_of(digits[chosen])
        self._scans, self._canvases = chosen.tolist(), Canvases(scans)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        """The canvas at ``index``, mode ``L``, 36x36."""
        canvas, _ = self._canvases.compose(self._scans[index], np.random.default_rng((SEED, 2, index)))
        return Image.fromarray(canvas)

    def describe(self, index: int) -> str:
        """``canvas to train on <index>``."""
        return f"canvas to train on {index}"


def number_of(digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers ``[n]`` of digits from left to right ``[n, DIGITS_READ]``."""
    return digits @ 10 ** np.arange(DIGITS_READ)[::-1]


def training_scans() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Scans that canvases to train on are composed from ``[scans, 8, 8]``, and their labels ``[scans]``."""
    digits = DigitsSource()
    training = digits.partition == TRAIN
    return digits.scans[training], digits.labels[training]


def _by_use(digits: DigitsSource, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Positions of held-out scans by what canvases of them serve for, each class in proportion."""
    found: dict[str, list[NDArray[np.int64]]] = {use: [] for use in CANVASES}
    ends = np.cumsum(list(SCAN_SHARES.values()))
    for label in np.unique(digits.labels):
        members = rng.permutation(np.flatnonzero((digits.labels == label) & (digits.partition == HELD_OUT)))
        cuts = np.rint(ends[:-1] * len(members)).astype(int)
        for use, part in zip(CANVASES, np.split(members, cuts), strict=True):
            found[use].append(part)
    return {use: np.sort(np.concatenate(parts)) for use, parts in found.items()}
