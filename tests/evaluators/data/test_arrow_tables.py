"""Hugging Face data sets on disk and parquet files: images, labels, parts, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evaluator_contracts import ImageSourceContract
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_tables import image_table, png, save_parquet, save_parts, save_to_disk

from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data import arrow_files
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source, open_sources
from bitfront.evaluators.data.source import CorruptImageError, ImageSource, has_two_orders, remarks_of
from bitfront.search.session.specs import with_test_folder
from bitfront.spaces import UserError

CONFIG = {"input_size": (3, 4, 4), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3,
          "crop_pct": 1.0, "crop_mode": "center"}  # fmt: skip


def shades(source: ImageSource) -> list[int]:
    return [int(np.asarray(source.load(index)).max()) for index in range(len(source))]


def refused(data: Path | str, match: str, *columns: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_source(str(data), columns=columns)
    assert "\n" not in str(caught.value)


class TestSavedDataSets:
    def test_a_data_set_in_two_files(self, tmp_path: Path) -> None:
        save_to_disk(tmp_path, image_table([0, 1, 1, 0, 1]), image_table([1, 0], first=5))
        source = open_source(str(tmp_path))
        assert source.labels.tolist() == [0, 1, 1, 0, 1, 1, 0]
        assert source.class_names == ("cat", "dog")
        assert source.partition is None
        assert shades(source) == list(range(7))
        assert source.describe(5) == f"{tmp_path}/data-00001-of-00002.arrow row 0"
        assert not remarks_of(source)

    @pytest.mark.parametrize(
        ("names", "sides"),
        [
            (("train", "validation", "test"), {"train": "train", "validation": "search", "test": "test"}),
            (("train", "test"), {"train": "train", "test": "held-out"}),
            (("train", "valid"), {"train": "train", "valid": "held-out"}),
            (("validation", "test"), {"validation": "not-test", "test": "test"}),
        ],
    )
    def test_parts(self, tmp_path: Path, names: tuple[str, ...], sides: dict[str, str]) -> None:
        save_parts(tmp_path, {name: image_table([0, 1, 0], first=3 * n) for n, name in enumerate(names)})
        source = open_source(str(tmp_path))
        assert source.partition is not None
        for n, name in enumerate(names):
            own = [i for i in range(len(source)) if f"/{name}/" in source.describe(i)]
            assert {str(source.partition[i]) for i in own} == {sides[name]}
            assert [shades(source)[i] for i in own] == [3 * n, 3 * n + 1, 3 * n + 2]

    def test_other_parts_are_told(self, tmp_path: Path) -> None:
        save_parts(
            tmp_path, {name: image_table([0, 1]) for name in ("train", "unsupervised", "validation", "val")}
        )
        source = open_source(str(tmp_path))
        assert len(source) == 4
        assert f"{tmp_path}: unsupervised, validation left out" in remarks_of(source)
        save_parts(tmp_path / "other", {"a": image_table([0, 1]), "b": image_table([0, 1])})
        refused(
            tmp_path / "other", "has the parts a, b, and none is called train.* give one of them, such as .*a"
        )
        assert len(open_source(str(tmp_path / "other/a"))) == 2

    def test_a_part_without_labels_is_left_out(self, tmp_path: Path) -> None:
        tables = {"train": [0, 1], "validation": [1, 0], "test": [-1, -1, -1]}
        save_parts(tmp_path, {name: image_table(labels) for name, labels in tables.items()})
        spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", data=str(tmp_path), calibration_images=2)
        assert with_test_folder(spec) == spec
        source = source_of(spec)
        assert source.partition is not None
        assert sorted(source.partition.tolist()) == ["held-out", "held-out", "train", "train"]
        assert f"{tmp_path}: 3 rows without a label left out" in remarks_of(source)
        assert [len(found) for found in vars(splits_of(spec, source)).values()] == [2, 1, 1]

    def test_arrow_files_of_both_kinds(self, tmp_path: Path) -> None:
        table = image_table([0, 1, 1])
        with (
            pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
        assert shades(open_source(str(tmp_path / "x.arrow"))) == [0, 1, 2]

    @pytest.mark.parametrize(
        ("state", "match"),
        [
            ('{"_data_files": []}', "lists no files"),
            ('{"_data_files": [{"filename": "../x.arrow"}]}', "lists no files that are beside it"),
            ('{"_data_files": [{"filename": "/etc/passwd"}]}', "lists no files that are beside it"),
            ('{"_data_files": [{"filename": "gone.arrow"}]}', "cannot read .*gone.arrow"),
            ('{"_data_files": 3}', "cannot read .*state.json"),
            ("{}", "cannot read .*state.json"),
            ("[" * 100_000, "cannot read .*state.json"),
        ],
    )
    def test_damaged_lists_are_refused(self, tmp_path: Path, state: str, match: str) -> None:
        save_to_disk(tmp_path, image_table([0, 1]))
        (tmp_path / "state.json").write_text(state)
        refused(tmp_path, match)


class TestParquet:
    def test_a_file(self, tmp_path: Path) -> None:
        labels = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]
        source = open_source(str(save_parquet(tmp_path / "x.parquet", image_table(labels), rows=4)))
        assert source.labels.tolist() == labels
        assert source.class_names == ("cat", "dog")
        assert shades(source) == list(range(11))
        for order in (reversed(range(11)), (3, 3, 10, 0, 7, 4)):
            for index in order:
                assert np.asarray(source.load(index)).max() == index

    @pytest.mark.parametrize(
        "files",
        [
            ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
            (
                "data/train-00000-of-00002-0a1b.parquet",
                "data/train-00001-of-00002-0c.parquet",
                "data/test-0.parquet",
            ),
            (
                "plain_text/train/0000.parquet",
                "plain_text/train/0001.parquet",
                "plain_text/test/0000.parquet",
            ),
            ("train/0000.parquet", "train/0001.parquet", "test/0000.parquet"),
            ("train.parquet", "train-1.parquet", "Test.parquet"),
        ],
    )
    def test_layouts_of_the_hub(self, tmp_path: Path, files: tuple[str, ...]) -> None:
        for number, file in enumerate(files):
            save_parquet(tmp_path / file, image_table([0, 1], first=2 * number))
        source = open_source(str(tmp_path))
        assert source.partition is not None
        found = dict(zip(shades(source), source.partition.tolist(), strict=True))
        assert found == {0: "train", 1: "train", 2: "train", 3: "train", 4: "held-out", 5: "held-out"}

    def test_files_without_parts_are_one_set(self, tmp_path: Path) -> None:
        for number in range(3):
            save_parquet(tmp_path / f"{number:04d}.parquet", image_table([0, 1], first=2 * number))
        source = open_source(str(tmp_path))
        assert source.partition is None
        assert shades(source) == list(range(6))

    def test_images_are_loaded_in_the_order_of_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labels = [n % 2 for n in range(40)]
        source = open_source(str(save_parquet(tmp_path / "x.parquet", image_table(labels), rows=8)))
        asked: list[int] = []
        load = type(source).load
        monkeypatch.setattr(type(source), "load", lambda self, i: (asked.append(i), load(self, i))[1])
        indices = np.random.default_rng(0).permutation(40)[:30]
        images = load_images(source, indices, CONFIG)
        assert asked == sorted(indices.tolist())
        assert images.indices.tolist() == indices.tolist()
        assert images.pixels[:, 0, 0, 0].tolist() == indices.tolist()
        assert images.labels.tolist() == [n % 2 for n in indices]

    def test_few_rows_are_in_memory(self, tmp_path: Path) -> None:
        source = open_source(str(save_parquet(tmp_path / "x.parquet", image_table([0, 1] * 100), rows=200)))
        source.load(150)
        (file,) = source.files  # type: ignore[attr-defined]
        assert len(file._batch) == arrow_files._BATCH


class TestColumns:
    @pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "label"), ("Picture", "kind")])
    def test_the_only_ones_that_may_be_meant(self, tmp_path: Path, columns: tuple[str, str]) -> None:
        path = save_parquet(tmp_path / "x.parquet", image_table([1, 0], columns=columns))
        source = open_source(str(path))
        assert source.labels.tolist() == [1, 0]
        told = [] if columns == ("image", "label") else [f"{path}: took the columns {','.join(columns)}"]
        assert list(remarks_of(source)) == told

    @pytest.mark.parametrize("kind", [pa.list_(pa.uint8()), pa.int64(), pa.list_(pa.binary())])
    def test_a_column_without_files_of_images_is_refused(self, tmp_path: Path, kind: Any) -> None:
        table = pa.table({"image": pa.array([None, None], kind), "label": [0, 1]})
        refused(save_parquet(tmp_path / "x.parquet", table), "has in the column image no files of images but")
        refused(tmp_path / "x.parquet", "no files of images but int64", "label", "label")

    def test_several_are_asked_for(self, tmp_path: Path) -> None:
        table = image_table([1, 0], columns=("img", "fine_label"))
        table = table.append_column("coarse_label", pa.array([5, 6]))
        info = json.loads(table.schema.metadata[b"huggingface"])
        coarse = {"names": list("abcdefg"), "_type": "ClassLabel"}
        info["info"]["features"]["coarse_label"] = coarse
        path = save_parquet(
            tmp_path / "x.parquet", table.replace_schema_metadata({"huggingface": json.dumps(info)})
        )
        refused(
            path,
            "has the columns img,fine_label,coarse_label; expected one of images .* --columns IMAGE,LABEL",
        )
        refused(path, "expected image,label", "image", "label")
        source = open_source(str(path), columns=("img", "coarse_label"))
        assert source.labels.tolist() == [5, 6]
        assert source.class_names == tuple("abcdefg")
        spec = EvaluationSpec(
            model="digits_deit", scheme="fq-vit", data=str(path), columns=("img", "fine_label")
        )
        assert source_of(spec).labels.tolist() == [1, 0]

    def test_paths_and_plain_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/a.png").write_bytes(png(40))
        images = [
            {"bytes": None, "path": "sub/a.png"},
            {"bytes": png(3), "path": None},
            {"bytes": None, "path": None},
        ]
        source = open_source(str(save_parquet(tmp_path / "x.parquet", image_table([0, 1, 1], images=images))))
        assert [int(np.asarray(source.load(i)).max()) for i in range(2)] == [40, 3]
        with pytest.raises(CorruptImageError, match="row 2: no image"):
            source.load(2)
        table = pa.table({"data": pa.array([png(7), b"no image"], pa.binary()), "y": [3, 4]})
        source = open_source(str(save_parquet(tmp_path / "y.parquet", table)))
        assert source.labels.tolist() == [3, 4]
        assert np.asarray(source.load(0)).max() == 7
        with pytest.raises(CorruptImageError, match="row 1: not an image file"):
            source.load(1)
        table = pa.table({"file_name": ["sub/a.png"], "label": [1], "width": [4]})
        source = open_source(str(save_parquet(tmp_path / "z.parquet", table)))
        assert np.asarray(source.load(0)).max() == 40


class TestLabels:
    def read(self, folder: Path, labels: list[Any], kind: Any = None, names: Any = None, **given: Any) -> Any:
        table = image_table(labels, names, label_type=kind)
        return open_source(str(save_parquet(folder / "x.parquet", table)), **given)

    def test_numbers_without_names(self, tmp_path: Path) -> None:
        source = self.read(tmp_path, [7, 0, 3], pa.int32())
        assert source.labels.tolist() == [7, 0, 3]
        assert source.class_names is None
        assert self.read(tmp_path, [7.0, 0.0, None], pa.float64()).labels.tolist() == [7, 0]
        assert self.read(tmp_path, ["3", "1"], pa.string()).labels.tolist() == [3, 1]

    def test_names(self, tmp_path: Path) -> None:
        source = self.read(tmp_path, ["c10", "c9", None, "", "c10"], pa.string())
        assert source.class_names == ("c10", "c9")
        assert source.labels.tolist() == [0, 1, 0]
        assert has_two_orders(source)
        source = self.read(
            tmp_path, ["c10", "c9"], pa.dictionary(pa.int8(), pa.string()), class_order="natural"
        )
        assert source.class_names == ("c9", "c10")
        assert source.labels.tolist() == [1, 0]

    def test_a_class_map(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("ape\ndog\ncat\n")
        mapped = str(tmp_path / "map.txt")
        assert self.read(tmp_path, [0, 1], None, ("cat", "dog"), class_map=mapped).labels.tolist() == [2, 1]
        assert self.read(tmp_path, ["dog"], pa.string(), class_map=mapped).labels.tolist() == [1]
        with pytest.raises(UserError, match="lacks 'cow'"):
            self.read(tmp_path, [0, 1], None, ("cat", "cow"), class_map=mapped)

    def test_several_labels(self, tmp_path: Path) -> None:
        lists = pa.list_(pa.int64())
        source = self.read(tmp_path, [[0, 1, 1], [1, 0, 0]], lists)
        assert source.labels.tolist() == [[0, 1, 1], [1, 0, 0]]
        table = image_table([[2], [0, 1], []], None, label_type=lists)
        feature = {"feature": {"names": ["a", "b", "c"], "_type": "ClassLabel"}, "_type": "List"}
        info = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        source = open_source(str(save_parquet(tmp_path / "y.parquet", table)))
        assert source.labels.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
        assert source.class_names == ("a", "b", "c")
        with pytest.raises(UserError, match="lists that are neither 0 and 1 for each label nor indices"):
            self.read(tmp_path, [[0, 2], [1]], lists)

    @pytest.mark.parametrize(
        ("labels", "kind", "names", "match"),
        [
            ([0, 2], None, ("cat", "dog"), "label 2, and names of 2 classes"),
            ([0, -2], None, None, "label '-2'; expected whole numbers from 0, or class names"),
            ([0.5], pa.float64(), None, "label '0.5'"),
            ([None, None], None, None, "lists no images with a label"),
            ([-1], None, ("cat", "dog"), "lists no images with a label"),
            ([2**40], None, None, "expected whole numbers from 0"),
            ([b"x"], pa.binary(), None, "expected one of images"),
            ([], None, None, "lists no images with a label"),
        ],
    )
    def test_what_is_none(self, tmp_path: Path, labels: list[Any], kind: Any, names: Any, match: str) -> None:
        with pytest.raises(UserError, match=match):
            self.read(tmp_path, labels, kind, names)


def test_other_columns_in_one_file_are_refused(tmp_path: Path) -> None:
    save_parquet(tmp_path / "0.parquet", image_table([0, 1]))
    save_parquet(tmp_path / "1.parquet", image_table([0, 1], ("dog", "cat")))
    refused(tmp_path, "1.parquet has other columns or classes than .*0.parquet")


def test_joined_with_folders_classes_agree_by_name(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "one", image_table([0, 1], ("dog", "cat")))
    for name in ("cat", "dog"):
        (tmp_path / "two" / name).mkdir(parents=True)
        (tmp_path / "two" / name / "1.png").write_bytes(png(9))
    source = open_sources(str(tmp_path / "two"), test_data=str(tmp_path / "one"))
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 1, 1, 0]


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path) -> None:
    path = save_parquet(tmp_path / "x.parquet", image_table([0, 1]))
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from bitfront.evaluators.data.registry import open_source\n"
        "from bitfront.spaces import UserError\n"
        f"try: open_source({str(path)!r})\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"reading {path} needs pyarrow: pip install 'bitfront[parquet]'\n"


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    cut=st.integers(0, 2000),
    flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    saved=st.booleans(),
)
def test_damaged_files_are_refused_or_their_images_are(
    tmp_path: Path, cut: int, flips: list[tuple[int, int]], saved: bool
) -> None:
    """Cut and changed bytes end in one line, whether at opening or at an image."""
    if saved:
        data = path = save_to_disk(tmp_path / "set", image_table([0, 1, 0, 1, 1]))
        path = data / "data-00000-of-00001.arrow"
    else:
        data = path = save_parquet(tmp_path / "x.parquet", image_table([0, 1, 0, 1, 1]))
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path.write_bytes(content[: len(content) - cut] if cut < len(content) else b"")
    message = ""
    try:
        source = open_source(str(data))
        for index in range(len(source)):
            try:
                source.load(index)
            except CorruptImageError as error:
                message += str(error)
    except UserError as error:
        message = str(error)
    assert "\n" not in message


class TestContract(ImageSourceContract):
    @pytest.fixture(params=["saved", "parquet"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
        parts = {"train": image_table([0, 1]), "test": image_table([1, 0, 1])}
        if request.param == "saved":
            return open_source(str(save_parts(tmp_path, parts)))
        for name, table in parts.items():
            save_parquet(tmp_path / f"{name}.parquet", table)
        return open_source(str(tmp_path))


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), named=st.booleans(), group=st.integers(1, 9), saved=st.booleans())
def test_a_written_table_is_read_as_it_was_meant(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, named: bool, group: int, saved: bool
) -> None:
    """Labels as numbers, with names or without, and as texts; rows without one are left out."""
    names = ("cat", "dog", "elk") if named else None
    texts = not named and data.draw(st.booleans())
    one = st.sampled_from(["x", "y z", "Ä,;"]) if texts else st.integers(0, 2)
    labels = data.draw(st.lists(st.none() | one, min_size=1, max_size=12).filter(lambda found: any(
        label is not None for label in found
    )))  # fmt: skip
    table = image_table(labels, names, label_type=pa.string() if texts else pa.int64())
    folder = tmp_path_factory.mktemp("generated")
    if saved:
        cut = data.draw(st.integers(0, len(labels)))
        save_to_disk(folder, table.slice(0, cut), table.slice(cut))
    else:
        save_parquet(folder / "x.parquet", table, rows=group)
    source = open_source(str(folder))
    expected = [(shade, label) for shade, label in enumerate(labels) if label is not None]
    found = source.labels.tolist()
    if texts:
        assert source.class_names is not None
        found = [source.class_names[label] for label in found]
    order = data.draw(st.permutations(range(len(source))))
    shown = {index: int(np.asarray(source.load(index)).max()) for index in order}
    assert [(shown[index], label) for index, label in enumerate(found)] == expected
    assert source.class_names == (names if not texts else source.class_names)
