"""Splits: disjoint, seeded, stratified, of the sizes asked for, or refused."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.splits import (
    Splits,
    check_labels,
    default_search_images,
    images_to_tell,
    largest_splits,
    make_splits,
    most_search_images,
    told_apart,
)
from bitfront.spaces import UserError


class Labels:
    """A source of which only the labels matter."""

    name = "labels"

    def __init__(
        self,
        labels: list[int],
        partition: list[str] | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        self.labels: NDArray[np.int64] = np.array(labels, dtype=np.int64)
        self.partition = None if partition is None else np.array(partition)
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        raise AssertionError("splitting reads no image")

    def describe(self, index: int) -> str:
        return f"item {index}"


def lists(splits: Splits) -> list[list[int]]:
    return list(splits.to_json().values())


def test_splits_are_disjoint_and_follow_the_partition() -> None:
    source = DigitsSource()
    splits = make_splits(source, calibration=128, search=None, test=None, seed=3)
    assert [len(part) for part in lists(splits)] == [128, 359, 360]
    assert len(set().union(*lists(splits))) == 128 + 359 + 360
    assert set(source.partition[splits.calibration]) == {"train"}
    assert set(source.partition[splits.search]) | set(source.partition[splits.test]) == {"held-out"}


def test_without_a_partition_everything_is_shared_out() -> None:
    splits = make_splits(Labels([0, 1] * 50), calibration=20, search=30, test=None, seed=0)
    assert [len(part) for part in lists(splits)] == [20, 30, 50]
    assert sorted(index for part in lists(splits) for index in part) == list(range(100))


@pytest.mark.parametrize(
    ("tell_apart", "search"),
    [(None, 512), (0.5, 6400), (1.0, 1600), (5.0, 512), (0.1, 10_000), (0.0, 10_000)],
)
def test_search_images_tell_the_difference_asked_for(tell_apart: float | None, search: int) -> None:
    source = Labels([0] * 40_000)
    splits = make_splits(source, calibration=10, search=None, test=None, seed=0, tell_apart=tell_apart)
    assert [len(part) for part in lists(splits)] == [10, search, 5000]
    asked = make_splits(source, calibration=10, search=30, test=None, seed=0, tell_apart=tell_apart)
    assert len(asked.search) == 30


def test_images_and_the_difference_that_they_tell_are_inverse() -> None:
    # 4 % of the images changed: the standard error is a fifth of a point at 100 sqrt(0.04) / sqrt(n).
    assert told_apart(256) == pytest.approx(2.5)
    assert told_apart(256, changed=0.16) == pytest.approx(5.0)
    assert images_to_tell(2.5) == 256
    for difference in (0.3, 0.5, 1.0, 1.7):
        images = images_to_tell(difference)
        assert told_apart(images) <= difference + 1e-9 < told_apart(images - 1) + 1e-9


def test_search_images_are_at_most_half_of_what_calibration_leaves() -> None:
    for partition, left in ((None, 9000), (["train"] * 5010 + ["held-out"] * 4000, 4000)):
        source = Labels([0] * 9010, partition)
        assert most_search_images(source, 10, None) == left // 2
        assert most_search_images(source, 10, 100) == left - 100
        splits = make_splits(source, calibration=10, search=None, test=None, seed=0, tell_apart=0.5)
        assert [len(part) for part in lists(splits)] == [10, left // 2, left // 2]


@pytest.mark.parametrize("tell_apart", [None, 0.5, 2.0])
@pytest.mark.parametrize(("search", "test"), [(None, None), (700, None), (None, 30), (9, 8)])
def test_a_larger_source_gives_no_larger_splits(
    search: int | None, test: int | None, tell_apart: float | None
) -> None:
    most = largest_splits(100, search, test, tell_apart)
    sizes = []
    for count in (most, 3 * most):
        splits = make_splits(
            Labels([0] * count), calibration=100, search=search, test=test, seed=0, tell_apart=tell_apart
        )
        sizes.append([len(part) for part in lists(splits)])
    assert sizes[0] == sizes[1] == [100, search or default_search_images(tell_apart), test or 5000]


def test_the_default_search_split_leaves_room_for_the_test_split() -> None:
    splits = make_splits(Labels([0] * 100), calibration=10, search=None, test=80, seed=0)
    assert [len(part) for part in lists(splits)] == [10, 10, 80]


def test_the_seed_decides() -> None:
    source = DigitsSource()

    def drawn(seed: int) -> list[list[int]]:
        return lists(make_splits(source, calibration=100, search=100, test=100, seed=seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("partition", [None, ["train", "held-out", "held-out", "held-out", "held-out"] * 200])
def test_every_split_has_the_classes_in_proportion(partition: list[str] | None) -> None:
    labels = [0] * 600 + [1] * 300 + [2] * 100
    source = Labels(labels, partition)
    splits = make_splits(source, calibration=100, search=200, test=300, seed=5)
    for part, size in ((splits.calibration, 100), (splits.search, 200), (splits.test, 300)):
        counts = np.bincount(np.array(labels)[part], minlength=3)
        assert np.abs(counts - size * np.array([0.6, 0.3, 0.1])).max() <= 2


def test_json_holds_plain_numbers() -> None:
    splits = make_splits(DigitsSource(), calibration=2, search=3, test=4, seed=0)
    assert json.loads(json.dumps(splits.to_json())) == splits.to_json()


@pytest.mark.parametrize(
    ("calibration", "search", "test", "match"),
    [
        (99, None, None, "calibration split needs 99, 98 are available"),
        (50, 60, None, "calibration split needs 50, 39 are available"),
        (10, 50, 50, "calibration split needs 10, 0 are available"),
        (0, None, None, "calibration split cannot have 0 images"),
        (10, -1, None, "search split cannot have -1 images"),
        (10, None, 0, "test split cannot have 0 images"),
    ],
)
def test_too_few_images(calibration: int, search: int | None, test: int | None, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        make_splits(Labels([0] * 100), calibration=calibration, search=search, test=test, seed=0)
    assert "\n" not in str(caught.value)


def test_too_few_images_in_a_partition() -> None:
    source = Labels([0] * 10, ["train"] * 6 + ["held-out"] * 4)
    with pytest.raises(UserError, match="train partition of labels: the calibration split needs 7, 6 are"):
        make_splits(source, calibration=7, search=None, test=None, seed=0)
    with pytest.raises(UserError, match="search split needs 3, 2 are available"):
        make_splits(source, calibration=6, search=3, test=2, seed=0)


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"item 1 has label 12 \(2 such images\); expected 0 to 9"):
        check_labels(Labels([0, 12, 10]), 10)
    check_labels(Labels([0, 9]), 10)
    with pytest.raises(UserError, match="the labels seem to begin at 1: subtract 1 from each"):
        check_labels(Labels([1, 10]), 10)


def test_a_different_number_of_classes_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_labels(Labels([0, 1], class_names=("cat", "dog")), 1000)
    assert "has 2 classes and the model 1000" in caplog.text
