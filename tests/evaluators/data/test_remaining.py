"""Images to learn from: none that steers or reports, no copy of one, and labels that do not matter."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitfront.evaluators.data.class_folders import read_image_folder
from bitfront.evaluators.data.joined import join_sources
from bitfront.evaluators.data.remaining import images_of_others, open_unlabelled, remaining_images
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, make_splits
from bitfront.spaces import UserError


def write(folder: Path, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        Image.new("RGB", (8, 8), (index, 7 * index % 256, 90)).save(folder / f"{index}.png")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for place, name in enumerate(("cat", "dog")):
        write(tmp_path / "data" / name, 20, 20 * place)
    return tmp_path / "data"


def split(source: ImageSource) -> Splits:
    return make_splits(source, calibration=8, search=10, test=6, seed=0)


def held(splits: Splits) -> set[int]:
    return {int(i) for part in (splits.calibration, splits.search, splits.test) for i in part}


def test_what_no_split_has_is_left(classes: Path) -> None:
    source = read_image_folder(classes, "data")
    splits = split(source)
    found = remaining_images(source, splits, seed=3)
    assert len(found) == 40 - 24
    assert not held(splits) & set(found.tolist())
    np.testing.assert_array_equal(found, remaining_images(source, splits, seed=3))
    assert found.tolist() != remaining_images(source, splits, seed=4).tolist()


def test_images_that_report_alone_and_copies_of_them_stay_out(classes: Path, tmp_path: Path) -> None:
    shutil.copytree(classes / "cat", tmp_path / "test" / "cat")  # copies: they serve to report alone
    write(tmp_path / "test" / "dog", 5, 100)
    joined = join_sources(
        read_image_folder(classes, "data"), None, read_image_folder(tmp_path / "test", "test")
    )
    splits = make_splits(joined, calibration=5, search=5, test=6, seed=0)
    found = remaining_images(joined, splits, seed=0)
    names = {joined.describe(int(index)) for index in found}
    assert len(names) == 20 - 10  # of the dogs in `data`
    assert all("/data/dog/" in name for name in names)


def test_every_image_below_a_folder_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "photos", 3)
    write(tmp_path / "photos" / "more" / "deep", 4, 10)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    source = open_unlabelled(str(tmp_path / "photos"))
    assert len(source) == 7
    assert not source.labels.any()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty; expected files below it"):
        open_unlabelled(str(tmp_path / "empty"))


def test_other_data_are_taken_as_they_are(tmp_path: Path) -> None:
    assert open_unlabelled("digits").name == "digits"
    write(tmp_path, 2)
    (tmp_path / "t.csv").write_text("file,kind\n0.png,0\n1.png,1\n")
    assert len(open_unlabelled(str(tmp_path / "t.csv"), ("file", "kind"))) == 2
    with pytest.raises(UserError, match="no such data"):
        open_unlabelled(str(tmp_path / "none"))


def test_copies_of_images_that_splits_have_are_left_out(classes: Path, tmp_path: Path) -> None:
    source = read_image_folder(classes, "data")
    splits = split(source)
    write(tmp_path / "photos", 5, 200)
    tested = source.describe(int(splits.test[0]))
    shutil.copy(tested, tmp_path / "photos" / "copy.png")
    (tmp_path / "photos" / "link.png").symlink_to(source.describe(int(splits.search[0])))
    further = open_unlabelled(str(tmp_path / "photos"))
    assert len(further) == 7
    found = images_of_others(further, source, splits, seed=0)
    names = {Path(further.describe(int(index))).name for index in found}
    assert names == {f"{index}.png" for index in range(200, 205)}
