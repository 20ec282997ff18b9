"""Which images each configuration of a run gets right, so that any two can be compared in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.files import csv_text
from bitfront.evaluators.tasks.quality import unpacked
from bitfront.search.problem.references import References
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.files import damaged_file
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.tables import FinalMeasurement

RIGHT_IMAGES = "right_images.csv"
COLUMNS = ("name", "split", "images", "right")
Split = Literal["search", "test"]


def write_right_images(
    folder: RunFolder, references: References, trials: Iterable[Trial], final: Mapping[int, FinalMeasurement]
) -> None:
    """Writes a row for each model and split.

    In it are the model's name (``float32``, ``W8A8T8`` or a digest), the split, the number of images that it
    saw, and which of them it gets right (see ``evaluators/tasks/quality.py``).

    Raises:
        BitfrontError: The file cannot be written.
    """

    def rows() -> Iterator[list[str]]:
        for model in (references.float_model, references.eight_bit):
            for split, images, right in (
                ("search", model.images, model.right),
                ("test", model.test_images, model.test_right),
            ):
                if right:
                    yield [model.name, split, str(images), right]
        for trial in trials:
            if trial.right:
                yield [trial.digest, "search", str(int(trial.values["images"])), trial.right]
            tested = final[trial.number].quality if trial.number in final else None
            if tested is not None and tested.right:
                yield [trial.digest, "test", str(tested.images), tested.right]

    folder.write_text(RIGHT_IMAGES, csv_text(COLUMNS, rows()))


def read_right_images(folder: Path, split: Split) -> dict[str, NDArray[np.bool_]]:
    """By name, whether each image of a split is decided right, bool ``[images]``; all in the same order.

    Candidates that were screened saw only the first images. Runs of earlier versions have none.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / RIGHT_IMAGES
    if not path.exists():
        return {}
    try:
        # Rows of many images are longer than csv's limit of a field, and no cell has a comma or a quote.
        header, *rows = (line.split(",") for line in path.read_text(encoding="utf-8").splitlines())
        if missing := set(COLUMNS) - set(header):
            raise ValueError(f"there is no column {', '.join(sorted(missing))}")
        known = (dict(zip(header, row, strict=True)) for row in rows)
        return {
            row["name"]: unpacked(row["right"], int(row["images"])) for row in known if row["split"] == split
        }
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error
