"""Images in a tar archive, read in place: nothing is ever extracted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import HELD_OUT, IMAGE_SUFFIXES, TRAIN, CorruptImageError, decode_image
from bitfront.spaces import UserError

SIDES = {"train": TRAIN, "test": HELD_OUT}
LARGEST_MEMBER = 64 * 2**20


@dataclass(frozen=True, eq=False)
class TarImages:
    """Labelled members of an uncompressed tar file; satisfies ``ImageSource``.

    Attributes:
        name: What the user called it.
        archive: The tar file.
        members: Names in the archive.
        extents: First byte and length of every member, int64 ``[images, 2]``.
        labels: Class indices, shape ``[images]``.
        partition: ``train`` or ``held-out`` for every image.
        class_names: Name of every class index.
    """

    name: str
    archive: Path
    members: tuple[str, ...]
    extents: NDArray[np.int64]
    labels: NDArray[np.int64]
    partition: NDArray[np.str_]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.members)

    def load(self, index: int) -> Image.Image:
        """The decoded member at ``index``; raises CorruptImageError where it cannot be read."""
        start, length = map(int, self.extents[index])
        if length > LARGEST_MEMBER:
            raise CorruptImageError(f"{self.describe(index)}: {length} bytes, more than {LARGEST_MEMBER}")
        with self.archive.open("rb") as file:
            file.seek(start)
            return decode_image(io.BytesIO(file.read(length)), self.describe(index))

    def describe(self, index: int) -> str:
        """``<archive>:<member>``."""
        return f"{self.archive}:{self.members[index]}"


def read_tar(archive: Path, name: str) -> TarImages:
    """Lists the images ``[.../]train/<class>/<image>`` and ``[.../]test/<class>/<image>`` of an archive.

    Raises:
        UserError: It is not an uncompressed tar file, holds links or devices, or no such images.
    """
    try:
        with tarfile.open(archive, mode="r:") as tar:
            found = sorted(_images(tar, archive), key=lambda item: item[0])
    except (tarfile.TarError, OSError, UnicodeError) as error:
        raise UserError(f"cannot read {archive}: {error}; expected an uncompressed tar file") from error
    if not found:
        raise UserError(f"no images in {archive}; expected train/<class>/<image> and test/<class>/<image>")
    members, extents, sides, classes = zip(*found, strict=True)
    class_names = tuple(sorted(set(classes)))
    positions = {name: position for position, name in enumerate(class_names)}
    return TarImages(
        name=name,
        archive=archive,
        members=members,
        extents=np.array(extents, dtype=np.int64),
        labels=np.array([positions[label] for label in classes], dtype=np.int64),
        partition=np.array(sides),
        class_names=class_names,
    )


def _images(tar: tarfile.TarFile, archive: Path) -> Iterator[tuple[str, tuple[int, int], str, str]]:
    """Member name, extent, side of the partition and class of every image."""
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise UserError(
                f"{archive} holds {member.name!r}, which is a link or a special file; "
                "expected plain files only: pack the images themselves"
            )
        *_, side, label, file = ("", "", *PurePosixPath(member.name).parts)
        if side in SIDES and PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES:
            yield member.name, (member.offset_data, member.size), SIDES[side], label
