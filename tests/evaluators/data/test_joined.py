"""Calibration, search and test images from different places: what serves for what, by which class indices."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluator_contracts import ImageSourceContract
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data import same_images
from bitfront.evaluators.data.joined import join_sources
from bitfront.evaluators.data.registry import open_sources
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, make_splits, most_search_images
from bitfront.spaces import UserError

SHADES: dict[str, int] = {}


def write_images(folder: Path, *names: str) -> str:
    """Images that no other is alike."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = SHADES.setdefault(str(path), len(SHADES) + 1)
        Image.new("RGB", (4, 4), (shade % 256, shade // 256, 7)).save(path)
    return str(folder)


def class_folders(folder: Path, count: int, *classes: str) -> str:
    return write_images(folder, *(f"{name}/{number}.png" for name in classes for number in range(count)))


def drawn(source: ImageSource, splits: Splits) -> dict[str, set[str]]:
    """The folders, below the root of the test, that the images of each split come from."""
    return {
        name: {Path(source.describe(int(i))).parts[-3] for i in indices}
        for name, indices in vars(splits).items()
    }


def draw(source: ImageSource, **sizes: int | None) -> Splits:
    return make_splits(source, **{"calibration": 4, "search": None, "test": None, "seed": 0, **sizes})


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    return {name: class_folders(tmp_path / name, 10, "cat", "dog") for name in ("search", "cal", "test")}


class TestSplits:
    def test_each_split_comes_from_its_own_place(self, places: dict[str, str]) -> None:
        source = open_sources(places["search"], places["cal"], places["test"])
        splits = draw(source)
        assert drawn(source, splits) == {"calibration": {"cal"}, "search": {"search"}, "test": {"test"}}
        assert [len(indices) for indices in vars(splits).values()] == [4, 20, 20]
        assert most_search_images(source, 4, None) == 20

    def test_what_has_no_place_of_its_own_comes_from_data(self, places: dict[str, str]) -> None:
        source = open_sources(places["search"], places["cal"])
        splits = draw(source)
        assert drawn(source, splits) == {"calibration": {"cal"}, "search": {"search"}, "test": {"search"}}
        assert [len(indices) for indices in vars(splits).values()] == [4, 10, 10]
        assert most_search_images(source, 4, None) == 10

        source = open_sources(places["search"], test_data=places["test"])
        splits = draw(source)
        assert drawn(source, splits) == {"calibration": {"search"}, "search": {"search"}, "test": {"test"}}
        assert [len(indices) for indices in vars(splits).values()] == [4, 16, 20]
        assert not set(splits.calibration) & set(splits.search)
        assert most_search_images(source, 4, None) == 16

    def test_every_prefix_has_the_classes_in_proportion(self, places: dict[str, str]) -> None:
        source = open_sources(places["search"], places["cal"], places["test"])
        for indices in vars(draw(source, search=10, test=10)).values():
            assert abs(int(source.labels[indices].sum()) * 2 - len(indices)) <= 2

    def test_parts_of_each_place_serve_for_what_they_are(self, tmp_path: Path) -> None:
        names = [f"{side}/{name}/{n}.png" for side in ("train", "val") for name in "ab" for n in range(6)]
        one, two = write_images(tmp_path / "one", *names), write_images(tmp_path / "two", *names)
        source = open_sources(one, two, two)
        sides = {
            split: {Path(source.describe(int(i))).parts[-4:-2] for i in indices}
            for split, indices in vars(draw(source)).items()
        }
        assert sides == {
            "calibration": {("two", "train")},
            "search": {("one", "val")},
            "test": {("two", "val")},
        }
        source = open_sources(one, test_data=two)
        sides = {
            split: {Path(source.describe(int(i))).parts[-4:-2] for i in indices}
            for split, indices in vars(draw(source)).items()
        }
        assert sides == {
            "calibration": {("one", "train")},
            "search": {("one", "val")},
            "test": {("two", "val")},
        }

    def test_a_source_alone_is_that_source(self, places: dict[str, str]) -> None:
        assert type(open_sources(places["search"])).__name__ == "ImageFiles"

    @pytest.mark.parametrize(
        ("sizes", "match"),
        [
            ({"calibration": 21}, "--calibration-data .*cal: the calibration split needs 21, 20 are"),
            ({"search": 21}, "--data .*search: the search split needs 21, 20 are"),
            ({"test": 21}, "--test-data .*test: the test split needs 21, 20 are"),
        ],
    )
    def test_too_few_images_name_the_option(
        self, places: dict[str, str], sizes: dict[str, int], match: str
    ) -> None:
        spec = EvaluationSpec(
            model="digits_deit",
            scheme="fq-vit",
            data=places["search"],
            calibration_data=places["cal"],
            test_data=places["test"],
            **{f"{split}_images": count for split, count in {"calibration": 4, **sizes}.items()},
        )
        with pytest.raises(UserError, match=match) as caught:
            splits_of(spec, source_of(spec))
        assert "\n" not in str(caught.value)

    def test_one_option_names_it_too(self, places: dict[str, str]) -> None:
        spec = EvaluationSpec(
            model="digits_deit",
            scheme="fq-vit",
            data=places["search"],
            test_data=places["test"],
            calibration_images=20,
        )
        with pytest.raises(UserError, match=r"--data .*search: the calibration split needs 20, 19 are"):
            splits_of(spec, source_of(spec))


class TestClasses:
    def test_the_same_name_has_the_same_index(self, tmp_path: Path) -> None:
        data = class_folders(tmp_path / "data", 1, "ape", "bee", "cat")
        test = class_folders(tmp_path / "test", 1, "ape", "cat")
        source = open_sources(data, test_data=test)
        assert source.class_names == ("ape", "bee", "cat")
        assert source.labels.tolist() == [0, 1, 2, 0, 2]
        source = open_sources(test, calibration_data=data)
        assert source.class_names == ("ape", "bee", "cat")
        assert source.labels.tolist() == [0, 2, 0, 1, 2]

    def test_unknown_classes_are_refused(self, tmp_path: Path) -> None:
        data = class_folders(tmp_path / "data", 1, "ape", "bee", "cat")
        test = class_folders(tmp_path / "test", 1, "ape", "dog")
        with pytest.raises(
            UserError, match=r"--test-data .*test has the class 'dog', which --data .*data lacks"
        ):
            open_sources(data, test_data=test)

    def test_numbers_of_tables_are_taken_as_they_are(self, tmp_path: Path) -> None:
        data = class_folders(tmp_path / "data", 1, "ape", "bee", "cat")
        write_images(tmp_path / "other", "x.png", "y.png")
        table = tmp_path / "other" / "labels.csv"
        table.write_text("path,label\nx.png,2\ny.png,1\n")
        source = open_sources(data, test_data=str(table))
        assert source.labels.tolist() == [0, 1, 2, 2, 1]
        assert source.class_names == ("ape", "bee", "cat")

    def test_columns_of_several_labels_agree_by_name(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.png", "b.png", "c.png")
        (tmp_path / "one.csv").write_text("path,cat,dog\na.png,1,0\nb.png,1,1\n")
        (tmp_path / "two.csv").write_text("path,dog,cat\nc.png,1,0\n")
        source = open_sources(str(tmp_path / "one.csv"), test_data=str(tmp_path / "two.csv"))
        assert source.class_names == ("cat", "dog")
        assert source.labels.tolist() == [[1, 0], [1, 1], [0, 1]]
        (tmp_path / "three.csv").write_text("path,label\nc.png,1\n")
        with pytest.raises(UserError, match=r"one label to an image, --data .* 2 labels"):
            open_sources(str(tmp_path / "one.csv"), test_data=str(tmp_path / "three.csv"))


class TestSharedImages:
    def test_images_in_two_places_serve_in_one(
        self, places: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        linked = tmp_path / "linked"
        linked.symlink_to(places["search"], target_is_directory=True)
        write_images(tmp_path / "linked", "cat/new.png")
        # The test images are some of those of the search, by another name; and so are those of calibration.
        (tmp_path / "some.csv").write_text("path,label\nlinked/cat/0.png,0\nlinked/dog/1.png,1\n")
        (tmp_path / "more.csv").write_text("path,label\nsearch/cat/0.png,0\nsearch/dog/2.png,1\n")
        with caplog.at_level(logging.WARNING):
            source = open_sources(places["search"], str(tmp_path / "more.csv"), str(tmp_path / "some.csv"))
        splits = draw(source, calibration=2)
        files = [
            {Path(source.describe(int(i))).resolve() for i in indices} for indices in vars(splits).values()
        ]
        assert [len(found) for found in files] == [2, 18, 1]
        assert len(set.union(*files)) == 21
        told = [message.partition(" (first")[0] for message in caplog.messages]
        assert told == [
            "left out of --test-data: 1 image that --calibration-data has too",
            "left out of --data: 2 images that --calibration-data has too",
            "left out of --data: 1 image that --test-data has too",
        ]

    def test_copies_are_known_by_their_content(
        self, places: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name, copy in (("cat/3.png", "dog/zz.png"), ("dog/4.png", "dog/yy.png")):
            shutil.copy(Path(places["search"]) / name, Path(places["test"]) / copy)
        # As long as another and with the same beginning, but not the same.
        for place, end in (("search", b"a"), ("test", b"b"), ("cal", b"c")):
            (Path(places[place]) / "cat" / "long.png").write_bytes(bytes(100_000) + end)
            (Path(places[place]) / "cat" / "empty.png").touch()
        with caplog.at_level(logging.WARNING):
            source = open_sources(places["search"], test_data=places["test"])
        (told,) = caplog.messages
        assert told == (
            f"left out of --data: 2 images that --test-data has too (first: {places['search']}/cat/3.png)"
        )
        unused = np.flatnonzero(source.partition == "unused") if source.partition is not None else []
        assert [Path(source.describe(int(i))).name for i in unused] == ["3.png", "4.png"]

    def test_of_many_files_of_one_size_none_is_read(
        self, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copy(Path(places["search"]) / "cat/3.png", Path(places["test"]) / "dog/zz.png")
        monkeypatch.setattr(same_images, "MOST_COMPARED", 5)
        monkeypatch.setattr(same_images, "_digest", lambda *_: pytest.fail("a file was read"))
        source = open_sources(places["search"], test_data=places["test"])
        assert source.partition is not None
        assert "unused" not in source.partition

    def test_one_place_for_all_leaves_nothing_to_search_with(self, places: dict[str, str]) -> None:
        spec = EvaluationSpec(
            model="digits_deit",
            scheme="fq-vit",
            data=places["test"],
            test_data=places["test"],
            calibration_images=4,
        )
        with pytest.raises(UserError, match="too few images in --data"):
            splits_of(spec, source_of(spec))


class TestSpec:
    def test_fields_are_written_where_they_are_set(self) -> None:
        spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", data="a", test_data="b")
        assert "calibration_data" not in spec.to_json()
        assert spec.to_json()["test_data"] == "b"
        assert EvaluationSpec.from_json(spec.to_json()) == spec

    def test_places_become_absolute_and_move(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("one/test", "two/test", "cal"):
            Path(name).mkdir(parents=True)
        spec = EvaluationSpec(
            model="digits_deit", scheme="fq-vit", data="one", calibration_data="cal", test_data="one/test"
        ).at_absolute_places()
        assert spec.test_data == str(tmp_path / "one/test")
        assert list(spec.places) == ["data", "calibration_data", "test_data"]
        assert spec.moved(data="two") == dataclasses.replace(spec, data=f"{tmp_path}/two")
        Path("one").rename("gone")
        moved = spec.moved(data="two")
        assert (moved.data, moved.test_data) == (f"{tmp_path}/two", f"{tmp_path}/two/test")
        assert moved.calibration_data == spec.calibration_data
        assert spec.moved(test_data="cal").test_data == f"{tmp_path}/cal"
        assert spec.moved() == spec


class _Drawn:
    """Images of which only classes matter."""

    partition = None

    def __init__(self, name: str, classes: list[str], order: tuple[str, ...]) -> None:
        self.name, self.class_names = name, order
        self.labels = np.array([order.index(own) for own in classes], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        raise AssertionError("joining loads no image")

    def describe(self, index: int) -> str:
        return f"{self.name} {index}"


CLASSES = st.permutations(["ape", "bee", "cat", "dog", "elk"]).flatmap(
    lambda names: st.integers(1, 5).map(lambda count: tuple(names[:count]))
)
PLACE = CLASSES.flatmap(lambda order: st.tuples(st.lists(st.sampled_from(order), min_size=1), st.just(order)))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=PLACE, calibration=st.none() | PLACE, test=st.none() | PLACE)
def test_every_image_keeps_its_class_or_the_places_are_refused(
    data: tuple[list[str], tuple[str, ...]],
    calibration: tuple[list[str], tuple[str, ...]] | None,
    test: tuple[list[str], tuple[str, ...]] | None,
) -> None:
    given_places = {"data": data, "calibration": calibration, "test": test}
    places = {name: place for name, place in given_places.items() if place is not None}
    drawn = {name: _Drawn(name, *place) for name, place in places.items()}
    largest = max((set(order) for _, order in places.values()), key=len)
    fitting = all(set(order) <= largest for _, order in places.values())
    try:
        source = join_sources(drawn["data"], drawn.get("calibration"), drawn.get("test"))
    except UserError:
        assert not fitting
        return
    assert fitting
    assert source.class_names is not None
    found = [source.class_names[label] for label in source.labels]
    assert found == [own for classes, _ in places.values() for own in classes]
    if len(places) > 1:
        sides = [] if source.partition is None else source.partition.tolist()
        first = sides[: len(drawn["data"])]
        expected = {(True, True): "search", (True, False): "held-out", (False, True): "not-test"}
        assert set(first) == {expected["calibration" in places, "test" in places]}


class TestContract(ImageSourceContract):
    @pytest.fixture
    def source(self, places: dict[str, str]) -> ImageSource:
        return open_sources(places["search"], places["cal"], places["test"])


def test_images_are_those_of_the_parts(places: dict[str, str]) -> None:
    source = open_sources(places["search"], places["cal"], places["test"])
    for index in range(len(source)):
        expected = np.asarray(Image.open(source.describe(index)))
        assert np.array_equal(np.asarray(source.load(index)), expected)
    with pytest.raises(IndexError):
        source.load(len(source))
