"""Paths of images as tables write them, and the files that they mean."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath


class WrittenPaths:
    """Finds files by the paths in a table; every folder is listed once.

    Args:
        root: The table's folder, which paths that are not absolute are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._root = root, str(root)
        self._names: dict[str, frozenset[str]] = {}

    def find(self, written: str) -> str | None:
        """The path of a file that is there, with forward slashes; None where there is none.

        Backslashes may separate folders, and accents be composed otherwise than in the file's name.
        """
        if self._is_there(written):
            return str(PurePosixPath(written)) if "./" in written or "//" in written else written
        slashed = written.replace("\\", "/")
        composed = (unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))
        return next((str(PurePosixPath(path)) for path in (slashed, *composed) if self._is_there(path)), None)

    def _is_there(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._files(os.path.join(self._root, folder))

    def _files(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder; none where it cannot be listed."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries if not entry.is_dir())
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def hint(self, written: str) -> str:
        """What is there in place of a file that is not, as the end of a message."""
        path = written.replace("\\", "/")
        folder, name = os.path.split(os.path.join(self.root, path))
        endings = [other for other in self._files(folder) if Path(other).stem == name]
        if len(endings) == 1:
            return f"; {endings[0]} is there: write paths with their endings"
        if os.path.isfile(path):
            return "; paths are relative to the table's folder; it is there from the current folder"
        inner = [sub for sub in sorted(self.root.iterdir()) if os.path.isfile(sub / path)]
        if inner:
            return f"; {inner[0].name}/{path} is there: write paths relative to the table's folder"
        return "; expected paths that are absolute or relative to the table's folder"
