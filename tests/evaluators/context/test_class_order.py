"""Class folders that can be read in two orders: the float model decides, or both are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.models.loading import load_model
from bitfront.spaces import UserError

SMALL = EvaluationSpec(model="digits_deit", scheme="fq-vit",
    recipe="fq-vit", calibration_images=64, search_images=60, test_images=60, batch_size=32, threads=1,
    first_images=60,
)  # fmt: skip
NUMBERED = [str(number) for number in range(1, 11)]
MIXED = ["ant", "Bee", "cat", "Dog", "elk", "Fox", "gnu", "Hen", "ibis", "Jay"]


def digit_folders(root: Path, names: Sequence[str], images: int = 200, first: int = 0) -> str:
    """Some digits in a folder for each; the model has them in the order of the names."""
    source = DigitsSource()
    for index in range(first, first + images):
        folder = root / names[int(source.labels[index])]
        folder.mkdir(parents=True, exist_ok=True)
        source.load(index).save(folder / f"{index}.png")
    return str(root)


def prepared(told: list[str] | None = None, **changes: object) -> EvaluationContext:
    spec = dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    return EvaluationContext.from_spec(spec, note=None if told is None else told.append)


def top1(context: EvaluationContext) -> float:
    return context.float_quality("search").values["top1"]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digit_folders(tmp_path_factory.mktemp("numbered"), NUMBERED)


@pytest.fixture(scope="module")
def random_head(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    state = load_model("digits_deit").module.state_dict()
    generator = torch.Generator().manual_seed(7)  # whose head is right on more classes than chance has it
    state["head.weight"] = torch.randn(state["head.weight"].shape, generator=generator)
    save_file(state, path)
    return str(path)


def test_numbered_folders_are_read_as_the_model_has_them(numbered: str) -> None:
    told: list[str] = []
    context = prepared(told, data=numbered)
    assert top1(context) > 97.0
    assert context.spec.class_order == "natural"
    assert context.source.class_names == tuple(NUMBERED)
    assert told[0] == (
        "class order: natural order (timm's): the float model has 126 of 128 images right, in plain order "
        "(torchvision's) 0; --class-order sets it"
    )


def test_the_plain_order_is_decided_as_well(tmp_path: Path) -> None:
    context = prepared(told := [], data=digit_folders(tmp_path, sorted(NUMBERED)))
    assert top1(context) > 97.0
    assert context.spec.class_order == "plain"
    assert told[0].startswith("class order: plain order (torchvision's): the float model has 127 of 128")


def test_nested_folders_are_read_as_the_model_has_them(tmp_path: Path) -> None:
    names = [f"{'odd' if number % 2 else 'even'}/{number}" for number in range(10)]
    told: list[str] = []
    context = prepared(told, data=digit_folders(tmp_path, names))
    assert top1(context) > 97.0
    assert context.spec.class_order == "natural"
    assert told[0].startswith("class order: natural order (timm's): the float model has 126 of 128 images")


def test_more_classes_than_the_model_has_are_another_order(tmp_path: Path) -> None:
    source = DigitsSource()
    for index in range(200):  # each image in a folder of its own
        folder = tmp_path / str(source.labels[index]) / f"{source.labels[index]}_{index}"
        folder.mkdir(parents=True)
        source.load(index).save(folder / "image.png")
    told: list[str] = []
    context = prepared(told, data=str(tmp_path))
    assert top1(context) > 97.0
    assert context.spec.class_order == "plain"
    assert told[0] == (
        "class order: plain order (torchvision's): there are 200 classes in natural order (timm's), "
        "and the model has 10"
    )


def test_a_few_classes_that_differ_are_enough(tmp_path: Path) -> None:
    context = prepared(told := [], data=digit_folders(tmp_path, [*"abcdefgh", "i10", "i9"], 400))
    assert top1(context) > 97.0
    assert context.spec.class_order == "plain"
    assert told[0].startswith("class order: plain order (torchvision's): the float model has 76 of 78 images")


def test_images_beside_the_folders_are_a_class_in_natural_order_alone(tmp_path: Path) -> None:
    data = digit_folders(tmp_path, [f"n{number}" for number in range(10)])
    DigitsSource().load(0).save(tmp_path / "montage.png")
    context = prepared(told := [], data=data)
    assert top1(context) > 97.0
    assert context.spec.class_order == "plain"
    assert "there are 11 classes in natural order (timm's), and the model has 10" in told[0]
    assert told[1] == f"{data}: 1 image in no class folder was ignored"
    with pytest.raises(
        UserError, match=r"has label 10 .* images beside the class folders are a class in nat"
    ):
        prepared([], data=data, class_order="natural")


def test_they_are_looked_up_where_the_model_has_an_output_for_them(tmp_path: Path) -> None:
    """The zeros lie beside the folders, and the model has them first, as timm does."""
    source = DigitsSource()
    for index in range(200):
        folder = tmp_path / (f"n{source.labels[index]}" if source.labels[index] else "")
        folder.mkdir(parents=True, exist_ok=True)
        source.load(index).save(folder / f"{index}.png")
    context = prepared(told := [], data=str(tmp_path))
    assert top1(context) > 97.0
    assert context.spec.class_order == "natural"
    assert len(context.source) == 200
    assert told[0].startswith("class order: natural order (timm's): the float model has")


def test_nothing_is_said_or_recorded_where_both_orders_are_the_same(tmp_path: Path) -> None:
    context = prepared(told := [], data=digit_folders(tmp_path, [f"n{number}" for number in range(10)]))
    assert top1(context) > 97.0
    assert context.spec.class_order is None
    assert "class_order" not in context.spec.to_json()
    assert told[0].startswith("images: ")


def test_an_order_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    told: list[str] = []
    data = digit_folders(tmp_path, MIXED)
    context = prepared(told, data=data, class_order="natural")
    assert top1(context) > 97.0
    assert told[0].startswith("images: ")
    with pytest.raises(UserError, match=r"in the natural order of their names .* give --class-order natural"):
        prepared([], data=data, class_order="plain")


@pytest.mark.parametrize("images", [160, 24])
def test_both_orders_are_named_where_the_model_fits_neither(
    tmp_path: Path, random_head: str, images: int
) -> None:
    data = digit_folders(tmp_path, NUMBERED, images)
    sizes = {"calibration_images": 8, "search_images": 8, "test_images": 8}
    with pytest.raises(UserError) as caught:
        prepared([], data=data, checkpoint=random_head, allow_chance=True, **sizes)
    message = str(caught.value)
    assert message.startswith(
        f"the classes of {data} have other labels in plain order (torchvision's) than in natural order "
        "(timm's) (class 1 is '10' or '2'), and the float model fits neither clearly: "
    )
    assert message.endswith("images are right; give --class-order plain or natural")
    assert "\n" not in message


def test_a_class_map_is_named_where_the_model_has_other_classes(tmp_path: Path) -> None:
    data = digit_folders(tmp_path, NUMBERED)
    for digit in (1, 2):
        (tmp_path / str(digit)).rename(tmp_path.with_name(f"{tmp_path.name}_{digit}"))
    with pytest.raises(UserError, match=r"plain or natural, or a --class-map to the model's 10 outputs$"):
        prepared([], data=data)


def test_too_few_images_do_not_decide(tmp_path: Path) -> None:
    data = digit_folders(tmp_path, NUMBERED, 10)
    sizes = {"calibration_images": 2, "search_images": 2, "test_images": 2}
    with pytest.raises(UserError, match=r"fits neither clearly: 0 and 8 of 9 images are right"):
        prepared([], data=data, **sizes)


def test_what_was_decided_is_rebuilt_without_another_look(numbered: str) -> None:
    context = prepared([], data=numbered)
    recorded = EvaluationSpec.from_json(context.spec.to_json())
    assert recorded.class_order == "natural"
    again = EvaluationContext.from_spec(recorded)
    assert again.splits.to_json() == context.splits.to_json()
    assert (again.source.labels == context.source.labels).all()


def test_runs_of_earlier_versions_keep_the_plain_order(numbered: str) -> None:
    recorded = dataclasses.replace(SMALL, data=numbered).to_json()
    assert "class_order" not in recorded
    context = EvaluationContext.from_spec(EvaluationSpec.from_json(recorded))
    assert context.source.class_names == tuple(sorted(NUMBERED))


def test_the_train_partition_decides_where_there_is_one(tmp_path: Path) -> None:
    digit_folders(tmp_path / "train", NUMBERED, 150)
    (tmp_path / "val").mkdir()
    for name in NUMBERED:  # of which none can be read
        (tmp_path / "val" / name).mkdir()
        (tmp_path / "val" / name / "x.png").touch()
    with pytest.raises(UserError, match=r"images of .* cannot be read"):
        top1(prepared(told := [], data=str(tmp_path), search_images=4, test_images=4))
    assert told[0].startswith("class order: natural order (timm's): the float model has 126 of 128 images")


def test_folders_of_several_places_are_read_in_one_order(tmp_path: Path) -> None:
    data = digit_folders(tmp_path / "data", NUMBERED, 150)
    context = prepared(
        told := [], data=data, test_data=digit_folders(tmp_path / "test", NUMBERED, 100, first=150)
    )
    assert context.spec.class_order == "natural"
    assert context.source.class_names == tuple(NUMBERED)
    assert top1(context) > 97.0
    assert context.float_quality("test").values["top1"] > 97.0
    assert sum("class order" in line for line in told) == 1


class TestClassMaps:
    def test_names_in_any_order_are_outputs(self, tmp_path: Path) -> None:
        words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        (tmp_path / "map.txt").write_text("\n".join(words))
        told: list[str] = []
        data = digit_folders(tmp_path / "data", words)
        context = prepared(told, data=data, class_map=tmp_path / "map.txt")
        assert top1(context) > 97.0
        assert context.source.class_names == tuple(words)
        recorded = context.spec.to_json()
        assert recorded["class_map"] == str(tmp_path / "map.txt")
        assert (EvaluationContext.from_spec(EvaluationSpec.from_json(recorded)).source.labels
                == context.source.labels).all()  # fmt: skip

    def test_some_classes_of_a_head_need_no_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        (tmp_path / "map.json").write_text('{"three": 3, "seven": 7, "eight": 8}')
        digit_folders(tmp_path / "data", words, 900)
        for word in set(words) - {"three", "seven", "eight"}:
            (tmp_path / "data" / word).rename(tmp_path / word)
        context = prepared([], data=str(tmp_path / "data"), class_map=str(tmp_path / "map.json"))
        assert top1(context) > 97.0
        assert not caplog.records

    def test_it_is_of_data_with_names(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("a\nb\n")
        with pytest.raises(UserError, match="is for class folders and tables; 'digits' has classes"):
            prepared(class_map=str(tmp_path / "map.txt"))


def test_what_is_left_out_is_said_once(tmp_path: Path) -> None:
    data = digit_folders(tmp_path, [f"n{number}" for number in range(10)])
    (tmp_path / "n0" / "a.gif").touch()
    prepared(told := [], data=data)
    assert told[0] == f"{data}: 1 file with another ending was ignored (.gif 1)"
    assert sum("ignored" in line for line in told) == 1


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UserError, match="unknown class order 'timm': choose one of plain, natural"):
        dataclasses.replace(SMALL, class_order="timm").check()
