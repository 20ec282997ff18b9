"""Directories with a folder for each class, read as torchvision or as timm reads them.

torchvision sorts the names of the top folders, and what is below one belongs to its class. timm takes the
name of the folder that holds an image itself, drops folders without images, and sorts naturally without case.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitfront.evaluators.data.class_map import CLASS_ORDERS, NATURAL, PLAIN, ClassMap, ordered
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.parts import TESTED_ON, TRAINED_ON, VALIDATED_WITH, parts_among, sides_of
from bitfront.evaluators.data.source import HELD_OUT, IMAGE_SUFFIXES
from bitfront.spaces import UserError

# What systems put into folders for themselves.
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
# Endings and links that a remark lists.
_SHOWN = 4


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
    scan = _Scan(folder)
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
class _Scanned:
    """One folder: its path below the data set's with a slash, what it is of, and the images in it alone."""

    path: str
    names: tuple[str, ...]  # from the part's own folder down; none for that itself
    side: str
    images: tuple[str, ...]


@dataclass
class _Scan:
    """Goes through folders, hidden ones apart, and keeps account of what is not read."""

    root: Path
    endings: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # other folders of parts that are there

    def folders(self, part: Path, side: str) -> Iterator[_Scanned]:
        """Every folder below a part of the data set, sorted, with its own images first."""
        real = os.path.realpath(part)
        reached = {real: part}
        waiting: list[tuple[Path, tuple[str, ...], str, tuple[str, ...]]] = [(part, (), real, (real,))]
        while waiting:
            path, names, real, above = waiting.pop()
            folders, files = self._entries(path)
            images = tuple(name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES)
            if names:
                others = (name for name in files if Path(name).suffix.lower() not in IMAGE_SUFFIXES)
                self.endings.update(Path(name).suffix.lower() or "none" for name in others)
            place = path.relative_to(self.root).as_posix()
            yield _Scanned("" if place == "." else f"{place}/", names, side, images)
            below = []
            for entry in folders:
                inner = path / entry.name
                leads_to = os.path.realpath(inner) if entry.is_symlink() else os.path.join(real, entry.name)
                if leads_to in above or real.startswith(leads_to.rstrip(os.sep) + os.sep):
                    self.loops.append(inner.relative_to(self.root).as_posix())
                    continue
                if leads_to in reached:
                    raise UserError(
                        f"{inner} and {reached[leads_to]} are the same folder; expected every image once, "
                        "because splits must not share images: remove one of the links"
                    )
                reached[leads_to] = inner
                below.append((inner, (*names, entry.name), leads_to, (*above, leads_to)))
            waiting += reversed(below)

    def _entries(self, path: Path) -> tuple[list[os.DirEntry[str]], list[str]]:
        """Folders and names of files of a folder, each sorted."""
        try:
            with os.scandir(path) as entries:
                shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
            folders = [entry for entry in shown if _is_folder(entry)]
        except OSError as error:
            raise UserError(
                f"cannot read the folder {error.filename or path} ({error.strerror}), whose images would be "
                f"missing: make it readable, or take it out of {self.root}"
            ) from error
        inner = {entry.name for entry in folders}
        names = [entry.name for entry in shown if entry.name not in inner]
        return folders, [name for name in names if name.lower() not in _SYSTEM_FILES]

    def remarks(self, loose: int) -> tuple[str, ...]:
        """What was not read, in sentences; ``loose`` images are in no class folder."""
        found = []
        if self.endings:
            count, listed = self.endings.total(), self.endings.most_common(_SHOWN)
            shown = ", ".join(f"{ending} {number}" for ending, number in listed)
            more = ", ..." if len(self.endings) > _SHOWN else ""
            files = (
                "1 file with another ending was" if count == 1 else f"{count} files with other endings were"
            )
            found.append(f"{files} ignored ({shown}{more})")
        if self.loops:
            shown = ", ".join(self.loops[:_SHOWN]) + (", ..." if len(self.loops) > _SHOWN else "")
            found.append(f"links to a folder above them were not followed ({shown})")
        if self.left_out:
            found.append(f"{', '.join(self.left_out)} left out: there is another such part")
        if loose:
            images = (
                "1 image in no class folder was" if loose == 1 else f"{loose} images in no class folder were"
            )
            found.append(f"{images} ignored")
        return tuple(f"{self.root}: {remark}" for remark in found)


@dataclass(frozen=True)
class _Reading:
    """Folders with images, the label of each, and the name of every label."""

    folders: tuple[_Scanned, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def differs(self, other: _Reading) -> bool:
        """Whether images have other labels there."""
        return (self.folders, self.labels) != (other.folders, other.labels)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself is no folder
            return False
        raise


def _parts(folder: Path, scan: _Scan) -> list[tuple[Path, str]]:
    """The folders that hold class folders, each with what its images serve for."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
    found, scan.left_out = parts_among(names)
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
    found: Sequence[_Scanned],
    scan: _Scan,
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
