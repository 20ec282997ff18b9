"""Images to learn from without their labels: those that neither steer a search nor report, or others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitfront.evaluators.data.arrow_layouts import holds_tables
from bitfront.evaluators.data.folder_scan import FolderScan
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.registry import is_table, open_source
from bitfront.evaluators.data.same_images import identities
from bitfront.evaluators.data.source import IMAGE_SUFFIXES, TEST, UNUSED, ImageSource
from bitfront.evaluators.data.splits import Indices, Splits
from bitfront.spaces import UserError


def remaining_images(source: ImageSource, splits: Splits, seed: int) -> Indices:
    """Positions of the images that no split has, shuffled; the same for the same seed.

    Those that may serve to report alone are left out, too, and copies of images that serve for something.
    """
    free = np.ones(len(source), dtype=bool)
    if source.partition is not None:
        free = ~np.isin(source.partition, (TEST, UNUSED))
    for taken in (splits.calibration, splits.search, splits.test):
        free[taken] = False
    return np.random.default_rng(seed).permutation(np.flatnonzero(free))


def open_unlabelled(place: str, columns: tuple[str, ...] = ()) -> ImageSource:
    """Images whose labels do not matter: every image below a folder, or any other data.

    Args:
        place: A folder, or what else data may be; see :data:`bitfront.evaluators.data.registry.FORMS`.
        columns: Names of the columns of a table.

    Raises:
        UserError: There is no such place, or it holds no images.
    """
    folder = Path(place)
    if not folder.is_dir() or holds_tables(folder):
        return open_source(place, columns=columns if is_table(place) else ())
    scan = FolderScan(folder)
    files = [scanned.path + image for scanned in scan.folders(folder, UNUSED) for image in scanned.images]
    if not files:
        raise UserError(
            f"no images in {place}; expected files below it with one of the endings "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    labels = np.zeros(len(files), dtype=np.int64)
    return ImageFiles(place, folder, tuple(files), labels, remarks=scan.remarks(0))


def images_of_others(further: ImageSource, source: ImageSource, splits: Splits, seed: int) -> Indices:
    """Positions of the images of another source, shuffled, without copies of those that splits have.

    Args:
        further: The other source.
        source: That of the splits.
        splits: Whose images are known already.
        seed: Of the shuffle.
    """
    held = np.concatenate([splits.calibration, splits.search, splits.test])
    known = identities(
        {
            "held": {int(index): source.describe(int(index)) for index in held},
            "further": {index: further.describe(index) for index in range(len(further))},
        }
    )
    seen = {key for keys in known["held"].values() for key in keys}
    free = [index for index, keys in known["further"].items() if not seen.intersection(keys)]
    return np.random.default_rng(seed).permutation(np.array(sorted(free), dtype=np.int64))
