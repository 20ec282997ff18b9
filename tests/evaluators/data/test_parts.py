"""Parts of data sets by the names that people give them, and what their images serve for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.parts import find_test_folder, part_of, parts_among, sides_of
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.source import remarks_of
from bitfront.search.session.specs import with_test_folder


def write_images(folder: Path, *names: str) -> str:
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(folder / name)
    return str(folder)


def parts(folder: Path, *names: str, count: int = 4) -> str:
    """Folders of parts, each with two class folders."""
    return write_images(
        folder, *(f"{n}/{c}/{i}.png" for n in names for c in ("cat", "dog") for i in range(count))
    )


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (
            ("train", "Train", "TRAINING", "train_images", "ILSVRC2012_img_train", "trainset", "train-set"),
            "train",
        ),
        (
            ("val", "Val", "validation", "valid", "dev", "eval", "Evaluation", "ILSVRC2012_val", "val2017"),
            "val",
        ),
        (("test", "Testing", "test_set", "TestSet", "test-images"), "test"),
        (
            (
                "bullet train",
                "test tube",
                "trains",
                "trainer",
                "images",
                "",
                "1",
                "cat",
                "devil",
                "train_test",
            ),
            None,
        ),
    ],
)
def test_names(names: tuple[str, ...], part: str | None) -> None:
    assert {part_of(name) for name in names} == {part}


def test_the_usual_name_is_taken_and_others_are_told() -> None:
    assert parts_among(["validation", "val", "train_images", "Training", "cat"]) == (
        {"train": "Training", "val": "val"},
        ["validation", "train_images"],
    )


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_names_can_be_asked_for(names: list[str]) -> None:
    found, others = parts_among(names)
    assert set(found.values()) | set(others) <= set(names)
    assert set(sides_of(found)) <= set(found)


class TestFolders:
    @pytest.mark.parametrize(
        ("train", "held_out"),
        [("Train", "Val"), ("training", "validation"), ("train", "dev"), ("TRAIN", "TEST"), ("train", "eval"),
         ("ILSVRC2012_img_train", "ILSVRC2012_img_val")],
    )  # fmt: skip
    def test_pairs_are_a_partition(self, tmp_path: Path, train: str, held_out: str) -> None:
        source = open_source(parts(tmp_path, train, held_out, count=1))
        assert source.class_names == ("cat", "dog")
        assert source.partition is not None
        assert sorted(source.partition.tolist()) == ["held-out"] * 2 + ["train"] * 2
        assert remarks_of(source) == ()

    def test_a_second_folder_of_a_part_is_told(self, tmp_path: Path) -> None:
        source = open_source(parts(tmp_path, "train", "val", "validation", count=1))
        assert len(source) == 4
        assert remarks_of(source) == (f"{tmp_path}: validation left out: there is another such part",)

    def test_validation_images_calibrate_where_there_are_none_to_train_on(self, tmp_path: Path) -> None:
        spec = EvaluationSpec(
            model="digits_deit", scheme="fq-vit", data=parts(tmp_path, "val", "test"), calibration_images=3
        )
        source = source_of(spec)
        assert {
            split: {Path(source.describe(int(i))).parts[-3] for i in indices}
            for split, indices in vars(splits_of(spec, source)).items()
        } == {"calibration": {"val"}, "search": {"val"}, "test": {"test"}}

    def test_class_folders_are_no_parts(self, tmp_path: Path) -> None:
        source = open_source(write_images(tmp_path, "bullet train/1.png", "test tube/1.png", "train/1.png"))
        assert source.class_names == ("bullet train", "test tube", "train")


class TestThreeParts:
    def test_a_new_spec_reports_on_the_test_folder(self, tmp_path: Path) -> None:
        spec = with_test_folder(
            EvaluationSpec(
                model="digits_deit",
                scheme="fq-vit",
                data=parts(tmp_path, "Train", "Val", "Test"),
                calibration_images=3,
            )
        )
        assert spec.test_data == str(tmp_path / "Test")
        source = source_of(spec)
        splits = splits_of(spec, source)
        assert {
            split: {Path(source.describe(int(i))).parts[-3] for i in indices}
            for split, indices in vars(splits).items()
        } == {"calibration": {"Train"}, "search": {"Val"}, "test": {"Test"}}
        assert len(splits.search) == 8
        assert remarks_of(source)[0] == (
            f"calibration images from {tmp_path}; search images from {tmp_path}; "
            f"test images from {tmp_path}/Test"
        )

    def test_what_is_named_or_recorded_stays(self, tmp_path: Path) -> None:
        data = parts(tmp_path, "train", "val", "test")
        named = EvaluationSpec(model="digits_deit", scheme="fq-vit", data=data, test_data="digits")
        assert with_test_folder(named) == named
        # A recorded spec without test data is of a run that reported on images of val.
        recorded = EvaluationSpec.from_json(
            EvaluationSpec(model="digits_deit", scheme="fq-vit", data=data, calibration_images=3).to_json()
        )
        source = source_of(recorded)
        splits = splits_of(recorded, source)
        assert {Path(source.describe(int(i))).parts[-3] for i in splits.test} == {"val"}

    def test_a_folder_of_the_name_of_built_in_data_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts(tmp_path / "digits", "train", "val", "test")
        monkeypatch.chdir(tmp_path)
        assert with_test_folder(EvaluationSpec(model="digits_deit", scheme="fq-vit")) == EvaluationSpec(
            model="digits_deit", scheme="fq-vit"
        )
        assert (
            with_test_folder(EvaluationSpec(model="digits_deit", scheme="fq-vit", data="./digits")).test_data
            == "digits/test"
        )

    @pytest.mark.parametrize("name", ["ape/1.png", "1.png"])
    def test_test_images_of_other_classes_stay_unused(
        self, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = parts(tmp_path, "train", "val")
        write_images(tmp_path, f"test/{name}")
        with caplog.at_level(logging.WARNING):
            assert find_test_folder(data) is None
        assert "test is left out: its folders are not classes of" in caplog.text

    @pytest.mark.parametrize("data", ["digits", "cifar10", "cifar10:x", "nowhere", ""])
    def test_other_data_have_none(self, data: str) -> None:
        assert find_test_folder(data) is None
