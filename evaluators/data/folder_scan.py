"""Going through folders of images: links that loop, folders that cannot be read, files that are no images."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bitfront.evaluators.data.source import IMAGE_SUFFIXES
from bitfront.spaces import UserError

# What systems put into folders for themselves.
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
# Endings and links that a remark lists.
_SHOWN = 4


@dataclass(frozen=True)
class ScannedFolder:
    """One folder.

    Attributes:
        path: Below the data set's own folder, with a slash at its end; nothing for that itself.
        names: Of the folders from the part's own one down to it; none for that itself.
        side: What the images of the part serve for.
        images: Names of the images in it alone, sorted.
    """

    path: str
    names: tuple[str, ...]
    side: str
    images: tuple[str, ...]


@dataclass
class FolderScan:
    """Goes through folders, hidden ones apart, and keeps account of what is not read.

    Attributes:
        root: The data set's own folder.
        endings: Of the files in class folders that are no images, with their numbers.
        loops: Links to a folder above them.
        left_out: Other folders of parts that are there.
    """

    root: Path
    endings: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def folders(self, part: Path, side: str) -> Iterator[ScannedFolder]:
        """Every folder of a part of the data set, sorted, that itself first.

        Raises:
            UserError: A folder cannot be read, or two ways lead to it.
        """
        real = os.path.realpath(part)
        reached = {real: part}
        waiting: list[tuple[Path, tuple[str, ...], str, tuple[str, ...]]] = [(part, (), real, (real,))]
        while waiting:
            path, names, real, above = waiting.pop()
            folders, files = self.entries(path)
            endings = {name: os.path.splitext(name)[1].lower() for name in files}
            images = tuple(name for name, ending in endings.items() if ending in IMAGE_SUFFIXES)
            if names:
                others = (ending for ending in endings.values() if ending not in IMAGE_SUFFIXES)
                self.endings.update(ending or "none" for ending in others)
            place = path.relative_to(self.root).as_posix()
            yield ScannedFolder("" if place == "." else f"{place}/", names, side, images)
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

    def entries(self, path: Path) -> tuple[list[os.DirEntry[str]], list[str]]:
        """Folders and names of files of a folder, each sorted; raises UserError where it cannot be read."""
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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself is no folder
            return False
        raise
