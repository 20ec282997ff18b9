"""Directories with a folder for each class, read as torchvision or as timm reads them.

torchvision sorts the names of the top folders, and what is below one belongs to its class. timm takes the
name of the folder that holds an image itself, drops folders without images, and sorts naturally without case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitfront.evaluators.data.class_map import CLASS_ORDERS, NATURAL, PLAIN, ClassMap, ordered
from bitfront.evaluators.data.folder_scan import FolderScan, ScannedFolder
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.parts import TESTED_ON, TRAINED_ON, VALIDATED_WITH, parts_among, sides_of
from bitfront.evaluators.data.source import HELD_OUT, IMAGE_SUFFIXES
from bitfront.spaces import UserError


def read_image_folder(
    folder: Path, name: str, class_order: str | None = None, class_map: ClassMap | None = None
) -> ImageFiles:
    """Lists a directory of class folders.

    ``train`` beside ``val`` or ``test`` gives a partition, by these or other names (see
    :mod:`~bitfront.evaluators.data.parts`); both then have the classes of ``train``.

    Args:
        folder: The directory.
        name: What the user called it.
        class_order: ``plain`` or ``natural``; None for the plain one, in which case ``two_orders`` of what is
            found says whether the natural one gives other labels.
        class_map: Which output each class name stands for; None for the position in the order. Where no order
            is given, names are looked up in that order in which the map has all of them.

    Raises:
        UserError: A folder cannot be read, or is reached twice; there are fewer than two class folders or no
            images; ``train`` lacks a held-out class; or the map lacks a class.
    """
    scan = FolderScan(folder)
    parts = _parts(folder, scan)
    found = [scanned for part, side in parts for scanned in scan.folders(part, side)]
    readings: dict[str, _Reading] = {}
    errors: dict[str, UserError] = {}
    for order in CLASS_ORDERS if class_order is None else (class_order,):
        try:
            readings[order] = _read_as(order, folder, parts, found, scan, class_map)
        except UserError as error:
            errors[order] = error
    taken = class_order or (PLAIN if PLAIN in readings or class_map is None else NATURAL)
    if taken not in readings:
        raise errors[taken if class_order else PLAIN]
    reading = readings[taken]
    counts = [len(scanned.images) for scanned in reading.folders]
    sides = np.repeat([scanned.side for scanned in reading.folders], counts)
    loose = sum(len(scanned.images) for scanned in found) - sum(counts)
    return ImageFiles(
        name,
        folder,
        tuple(scanned.path + image for scanned in reading.folders for image in scanned.images),
        np.repeat(np.array(reading.labels, dtype=np.int64), counts),
        sides if len(parts) > 1 else None,
        reading.names,
        scan.remarks(loose),
        len(readings) > 1 and readings[PLAIN].differs(readings[NATURAL]),
    )


@dataclass(frozen=True)
class _Reading:
    """Folders with images, the label of each, and the name of every label."""

    folders: tuple[ScannedFolder, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def differs(self, other: _Reading) -> bool:
        """Whether images have other labels there."""
        return (self.folders, self.labels) != (other.folders, other.labels)


def _parts(folder: Path, scan: FolderScan) -> list[tuple[Path, str]]:
    """The folders that hold class folders, each with what its images serve for."""
    found, scan.left_out = parts_among([entry.name for entry in scan.entries(folder)[0]])
    if TRAINED_ON in found and VALIDATED_WITH in found:
        # Named with --test-data, or found by find_test_folder, where it is to be used.
        found.pop(TESTED_ON, None)
    sides = sides_of(found)
    if not sides:
        scan.left_out = []
        return [(folder, HELD_OUT)]
    return [(folder / found[part], side) for part, side in sides.items()]


def _read_as(
    order: str,
    folder: Path,
    parts: Sequence[tuple[Path, str]],
    found: Sequence[ScannedFolder],
    scan: FolderScan,
    class_map: ClassMap | None,
) -> _Reading:
    """What folders are labelled as in one of the orders."""
    if order == NATURAL:
        named = [(scanned, scanned.names[-1] if scanned.names else "") for scanned in found if scanned.images]
    else:
        named = [(scanned, scanned.names[0]) for scanned in found if scanned.names]
    classes = [ordered({own for scanned, own in named if scanned.side == side}, order) for _, side in parts]
    if class_map is None:
        _check_classes(folder, parts, classes, order)
    holding = tuple((scanned, own) for scanned, own in named if scanned.images)
    if not holding:
        endings = f" (there are {', '.join(sorted(scan.endings))})" if scan.endings else ""
        raise UserError(
            f"no images in {folder}; expected {folder}/<class>/<image> "
            f"with one of the endings {', '.join(sorted(IMAGE_SUFFIXES))}{endings}"
        )
    if class_map is None:
        index, names = {own: label for label, own in enumerate(classes[0])}, tuple(classes[0])
        labels = [index[own] for _, own in holding]
    else:
        labels, names = class_map.lookup((own for _, own in holding), str(folder)), class_map.names
    return _Reading(tuple(scanned for scanned, _ in holding), tuple(labels), names)


def _check_classes(
    folder: Path, parts: Sequence[tuple[Path, str]], classes: Sequence[Sequence[str]], order: str
) -> None:
    """Refuses fewer than two classes, and held-out ones that are not among those of ``train``."""
    first = parts[0][0]
    if not classes[0]:
        raise UserError(
            f"no class folders in {first}; expected {folder}/<class>/<image>, "
            "or a labels.csv file with the columns path,label"
        )
    if len(classes[0]) == 1 and order == NATURAL:
        raise UserError(
            f"{first} has only the class {classes[0][0]!r} in natural order, where the folder that holds the "
            "images is the class; expected at least two: give --class-order plain for the folders at the top"
        )
    if len(classes[0]) == 1:
        raise UserError(
            f"{first} has only the folder {classes[0][0]}; expected at least two class folders: "
            f"pass --data {first / classes[0][0]} if they are inside it (or --class-order natural for those "
            "that hold the images), or a labels.csv file"
        )
    for (part, _), own in zip(parts[1:], classes[1:], strict=True):
        unknown = sorted(set(own) - set(classes[0]))
        if unknown:
            raise UserError(
                f"{part} has the class folder {unknown[0]}, which {first} lacks; "
                "expected the same classes in both"
            )
