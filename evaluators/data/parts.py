"""Names that people give to the parts of a data set: what is trained on, validated with and tested on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bitfront.evaluators.data.source import HELD_OUT, NOT_TEST, SEARCH, TEST, TRAIN

log = logging.getLogger(__name__)

TRAINED_ON, VALIDATED_WITH, TESTED_ON = "train", "val", "test"
PARTS = (TRAINED_ON, VALIDATED_WITH, TESTED_ON)
# In any case, the ones that are taken first where there are several at the front.
_NAMES: Mapping[str, tuple[str, ...]] = {
    TRAINED_ON: ("train", "training", "trn"),
    VALIDATED_WITH: ("val", "validation", "valid", "validate", "dev", "eval", "evaluation"),
    TESTED_ON: ("test", "testing", "tst"),
}
_PART_OF = {name: part for part, names in _NAMES.items() for name in names}
# Words that may stand beside these, as in ILSVRC2012_img_val or train_images.
_BESIDE = frozenset(
    ("ilsvrc", "imagenet", "img", "imgs", "image", "images", "data", "dataset", "set", "split")
)


def part_of(name: str) -> str | None:
    """The part that a folder or file of this name holds, one of :data:`PARTS`; None for none."""
    words = [word for word in re.findall(r"[^\W\d_]+", name.lower()) if word not in _BESIDE]
    if len(words) != 1:
        return None
    return _PART_OF.get(words[0]) or _PART_OF.get(words[0].removesuffix("set"))


def parts_among(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The name of every part among some names, and other names of parts that are there already."""
    found: dict[str, str] = {}
    others = []
    for name in sorted(names, key=_preference):
        part = part_of(name)
        if part is not None and found.setdefault(part, name) != name:
            others.append(name)
    return found, others


def _preference(name: str) -> tuple[int, int, str]:
    """Usual names first, then short ones."""
    places = [names.index(name.lower()) for names in _NAMES.values() if name.lower() in names]
    return min(places, default=len(_PART_OF)), len(name), name


def sides_of(parts: Iterable[str]) -> dict[str, str]:
    """What the images of each part serve for, where there are parts to calibrate and to report on.

    Training images calibrate. Validation images steer the search; the front is reported on the test images,
    or on other validation images where there are none. Without training images, validation images calibrate.
    """
    there = set(parts)
    if TRAINED_ON not in there:
        return {VALIDATED_WITH: NOT_TEST, TESTED_ON: TEST} if there >= {VALIDATED_WITH, TESTED_ON} else {}
    if there >= set(PARTS):
        return {TRAINED_ON: TRAIN, VALIDATED_WITH: SEARCH, TESTED_ON: TEST}
    return {TRAINED_ON: TRAIN, **dict.fromkeys(there - {TRAINED_ON}, HELD_OUT)} if len(there) > 1 else {}


def find_test_folder(data: str) -> str | None:
    """The folder of test images beside folders to train on and to validate with, each with class folders.

    Those of one whose folders are not among the classes to train on stay unused, which is logged.
    """
    root = Path(data)
    if not root.is_dir():
        return None
    found, _ = parts_among(_folders(root))
    if found.keys() < set(PARTS):
        return None
    folder, classes = root / found[TESTED_ON], _folders(root / found[TRAINED_ON])
    own = _folders(folder)
    if own and own <= classes:
        return str(folder)
    log.warning("%s is left out: its folders are not classes of %s", folder, root / found[TRAINED_ON])
    return None


def _folders(root: Path) -> set[str]:
    with os.scandir(root) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
