"""Which images are decided right: written, read back, and refused where the file is damaged."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bitfront.evaluators.tasks.quality import Quality, packed
from bitfront.search.problem.references import References
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.right_images import RIGHT_IMAGES, read_right_images, write_right_images
from bitfront.search.runs.tables import FinalMeasurement
from bitfront.spaces import UserError

HEADER = "name,split,images,right\n"


def flags(images: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(images) < 0.7


def trial(number: int, images: int, right: str, state: str = "complete") -> Trial:
    return Trial(number, f"00{number}e5", (0,), state, {"images": float(images)}, {}, right=right)


@pytest.fixture
def written(synthetic: ModuleType, folder: RunFolder) -> Path:
    marks = synthetic.references(synthetic.space())
    references = References(
        dataclasses.replace(
            marks.float_model, images=500, right=packed(flags(500, 0)), test_images=90,
            test_right=packed(flags(90, 1)),
        ),
        dataclasses.replace(marks.eight_bit, images=500, right=packed(flags(500, 2))),
    )  # fmt: skip
    trials = [
        trial(0, 500, packed(flags(500, 3))),
        trial(1, 64, packed(flags(64, 4)), "screened"),
        trial(2, 500, "", "failed"),
    ]
    tested = Quality(90, {"top1": 70.0}, 1, 1, 0.0, packed(flags(90, 5)))
    write_right_images(folder, references, trials, {0: FinalMeasurement(quality=tested)})
    return folder.path


def test_rows_of_both_splits_come_back_by_name(written: Path) -> None:
    search, test = (read_right_images(written, split) for split in ("search", "test"))
    assert list(search) == ["float32", "W8A8T8", "000e5", "001e5"], "digests stay text"
    assert list(test) == ["float32", "000e5"]
    for name, images, seed in (("float32", 500, 0), ("W8A8T8", 500, 2), ("000e5", 500, 3), ("001e5", 64, 4)):
        np.testing.assert_array_equal(search[name], flags(images, seed))
    np.testing.assert_array_equal(test["float32"], flags(90, 1))
    np.testing.assert_array_equal(test["000e5"], flags(90, 5))


def test_any_two_points_can_be_compared_in_pairs(written: Path) -> None:
    found = read_right_images(written, "search")
    ours, whole = found["000e5"], found["float32"]
    lost, won = int((whole & ~ours).sum()), int((ours & ~whole).sum())
    assert won - lost == int(ours.sum()) - int(whole.sum())


def test_a_run_reads_it_and_earlier_runs_have_none(runs_dir: Path, tmp_path: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    assert run.right_images("search") == run.right_images("test") == {}
    here = dataclasses.replace(run, path=tmp_path)
    (tmp_path / RIGHT_IMAGES).write_text(f"{HEADER}a,test,9,{packed(flags(9, 0))}\n")
    np.testing.assert_array_equal(here.right_images("test")["a"], flags(9, 0))
    assert here.right_images("search") == {}


BOMB = base64.b64encode(zlib.compress(bytes(10_000_000), 9)).decode()


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}a,test,24,nonsense!\n",
        f"{HEADER}a,test,many,{packed(flags(24, 0))}\n",
        f"{HEADER}a,test,48,{packed(flags(24, 0))}\n",
        f"{HEADER}a,test,{10**30},{packed(flags(24, 0))}\n",
        f"{HEADER}a,test,24,{BOMB}\n",
        f"{HEADER}a,test\n",
        "name,split\na,test\n",
        "name\na\n",
        "\x00\x01",
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / RIGHT_IMAGES).write_text(content)
    with pytest.raises(UserError, match=r"right_images\.csv is damaged") as error:
        read_right_images(tmp_path, "test")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / RIGHT_IMAGES).write_bytes(b"\xff\xfe" * 9)
    with pytest.raises(UserError, match=r"right_images\.csv is damaged"):
        read_right_images(tmp_path, "test")


def test_rows_of_very_many_images_are_read(tmp_path: Path) -> None:
    many = np.random.default_rng(0).random(1_500_000) < 0.5
    (tmp_path / RIGHT_IMAGES).write_text(f"{HEADER}a,test,{len(many)},{packed(many)}\n")
    np.testing.assert_array_equal(read_right_images(tmp_path, "test")["a"], many)
