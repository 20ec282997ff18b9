"""Small pictures of the images that points of a front disagree about."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.context.preparing import source_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.source import ImageSource
from bitfront.search.runs.files import read_json
from bitfront.search.runs.folder import SPLITS
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

# Pixels of the longer side, and the quality of JPEG: 1 to 3 kB each.
_SIDE, _QUALITY = 80, 80


@dataclass(frozen=True)
class Thumbnail:
    """One image.

    Attributes:
        place: Its position in the split.
        label: Its class, by name where the data have names; empty for several labels.
        picture: A ``data:`` URL.
    """

    place: int
    label: str
    picture: str


def thumbnails(run: RecordedRun, most: int) -> tuple[str, list[Thumbnail]]:
    """The images that the front disagrees about most, and their split: that of test where it is known.

    Args:
        run: Says which images each point of its front decides right.
        most: How many at most.

    Raises:
        UserError: The run does not say which images are decided right, or its data cannot be opened.
        BitfrontError: An image cannot be read.
    """
    splits: tuple[Literal["test"], Literal["search"]] = ("test", "search")
    indices = read_json(run.path / SPLITS, dict, absent={})
    for split in splits:
        known = run.right_images(split)
        right = [known[digest] for digest in map(str, run.front["digest"]) if digest in known]
        if right and len({len(bits) for bits in right}) == 1 and split in indices:
            places = _disputed(np.array(right), most)
            source = source_of(EvaluationSpec.from_json(run.evaluation))
            return split, list(_made(source, places, [int(i) for i in indices[split]]))
    raise UserError(
        f"run {run.name} does not say which images each point decides right, as runs of earlier versions: "
        "leave out --images, or search again"
    )


def _disputed(right: NDArray[np.bool_], most: int) -> list[int]:
    """Places of the images that about half of the points decide right, first; none that all agree about."""
    share = right.mean(axis=0)
    order = np.lexsort((np.arange(len(share)), np.abs(share - 0.5)))
    return [int(place) for place in order if 0.0 < share[place] < 1.0][:most]


def _made(source: ImageSource, places: Iterable[int], indices: list[int]) -> Iterable[Thumbnail]:
    names = source.class_names
    for place in places:
        label = source.labels[indices[place]]
        told = "" if np.ndim(label) else str(label) if names is None else names[int(label)]
        yield Thumbnail(place, told, _data_url(source.load(indices[place])))


def _data_url(image: Image.Image) -> str:
    """A small JPEG; what has more than 8 bits or an alpha channel is brought to what JPEG knows."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        low, span = values.min(), float(np.ptp(values)) or 1.0
        image = Image.fromarray(((values - low) / span * 255).astype(np.uint8))
    image = image.convert("L" if image.mode in ("L", "1") else "RGB")
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
