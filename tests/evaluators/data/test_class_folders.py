"""Class folders: the labels that torchvision and timm read, class maps, and what is refused or left out."""

from __future__ import annotations

import os
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from bitfront.evaluators.data.class_folders import read_image_folder
from bitfront.evaluators.data.class_map import natural_key, read_class_map
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.source import decode_image
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

Labels = dict[str, int]


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return root


def labels_of(source: ImageFiles) -> Labels:
    return dict(zip(source.files, source.labels.tolist(), strict=True))


def timms_labels(root: Path, class_map: str = "") -> Labels:
    ensure_torchvision()
    from timm.data.readers.reader_image_folder import ReaderImageFolder

    found = ReaderImageFolder(str(root), class_map).samples
    return {Path(path).relative_to(root).as_posix(): label for path, label in found}


def torchvisions_labels(root: Path) -> Labels:
    ensure_torchvision()
    from torchvision.datasets import ImageFolder

    found = ImageFolder(str(root), allow_empty=True).samples
    return {Path(path).relative_to(root).as_posix(): label for path, label in found}


@pytest.mark.parametrize(
    ("names", "natural", "plain"),
    [
        ([f"{number}/a.png" for number in (1, 2, 10)], ("1", "2", "10"), ("1", "10", "2")),
        (["Zebra/a.png", "ape/a.png"], ("ape", "Zebra"), ("Zebra", "ape")),
        (["x/cat/a.png", "x/dog/a.png", "y/ape/a.png"], ("ape", "cat", "dog"), ("x", "y")),
        (["a/", "b/1.png", "c/1.png"], ("b", "c"), ("a", "b", "c")),
        (["a/1.png", "b/1.png", "loose.png"], ("", "a", "b"), ("a", "b")),
    ],
)
def test_both_orders_are_read_as_timm_and_torchvision_read_them(
    tmp_path: Path, names: list[str], natural: tuple[str, ...], plain: tuple[str, ...]
) -> None:
    write(tmp_path, *names)
    for order, classes, reader in (("natural", natural, timms_labels), ("plain", plain, torchvisions_labels)):
        found = read_image_folder(tmp_path, "pets", order)
        assert found.class_names == classes
        assert labels_of(found) == reader(tmp_path)
        assert not found.two_orders
    undecided = read_image_folder(tmp_path, "pets")
    assert undecided.two_orders
    assert undecided.class_names == plain


@pytest.mark.parametrize(
    "names",
    [
        ["ape/a.png", "cat/b.png"],
        ["01/a.png", "02/b.png", "10/c.png"],
        ["ape/x/a.png", "cat/y/b.png"],
        ["ape/x/a.png", "cat/x/b.png"],  # in natural order there is but one class
        ["ape/a.png", "cat/b.png", "z/"],
    ],
)
def test_there_are_no_two_orders_where_labels_are_the_same(tmp_path: Path, names: list[str]) -> None:
    found = read_image_folder(write(tmp_path, *names), "pets")
    assert not found.two_orders
    assert labels_of(found) == torchvisions_labels(tmp_path)


def test_train_and_val_have_the_classes_of_train_in_both_orders(tmp_path: Path) -> None:
    write(tmp_path, *(f"train/{number}/a.png" for number in (1, 2, 10)), "val/10/b.png", "val/2/c.png")
    assert labels_of(read_image_folder(tmp_path, "n"))["val/10/b.png"] == 1
    found = read_image_folder(tmp_path, "n", "natural")
    assert labels_of(found)["val/10/b.png"] == 2
    assert found.partition is not None
    assert found.partition.tolist() == ["train"] * 3 + ["held-out"] * 2
    write(tmp_path, "val/2/11/d.png")
    with pytest.raises(UserError, match=r"val has the class folder 11, which .*train lacks"):
        read_image_folder(tmp_path, "n", "natural")
    assert not read_image_folder(tmp_path, "n", "plain").two_orders


class TestClassMaps:
    def test_labels_are_outputs_of_the_map(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("ape\nbee\ncat\ndog\n")
        data = write(tmp_path / "data", "dog/a.png", "bee/b.png", "empty/")
        found = open_source(str(data), None, str(tmp_path / "map.txt"))
        assert found.labels.tolist() == [1, 3]
        assert found.class_names == ("ape", "bee", "cat", "dog")
        assert timms_labels(data, str(tmp_path / "map.txt")) == {"bee/b.png": 1, "dog/a.png": 3}

    def test_names_are_looked_up_in_the_order_that_has_them(self, tmp_path: Path) -> None:
        (tmp_path / "tops.csv").write_text("x,5\ny,7\n")
        (tmp_path / "leaves.csv").write_text("cat,1\ndog,0\nape,2\n")
        data = write(tmp_path / "data", "x/cat/a.png", "x/dog/b.png", "y/ape/c.png")
        for name, labels in (("tops", [5, 5, 7]), ("leaves", [1, 0, 2])):
            class_map = read_class_map(tmp_path / f"{name}.csv")
            found = read_image_folder(data, "pets", None, class_map)
            assert found.labels.tolist() == labels
            assert not found.two_orders
        with pytest.raises(UserError, match=r"lacks 'cat', 'dog', 'ape', which .*data has"):
            read_image_folder(data, "pets", "natural", read_class_map(tmp_path / "tops.csv"))

    def test_a_map_of_both_is_undecided(self, tmp_path: Path) -> None:
        (tmp_path / "both.json").write_text('{"x": 0, "y": 1, "cat": 2, "ape": 3}')
        data = write(tmp_path / "data", "x/cat/a.png", "y/ape/c.png")
        assert read_image_folder(data, "pets", None, read_class_map(tmp_path / "both.json")).two_orders

    def test_missing_names_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("ape\n")
        data = write(tmp_path / "data", "dog/a.png", "ape/b.png")
        with pytest.raises(UserError, match=r"map\.txt lacks 'dog', which .*data has") as caught:
            open_source(str(data), None, str(tmp_path / "map.txt"))
        assert "\n" not in str(caught.value)


class TestWhatIsNotRead:
    def test_other_endings_are_counted(self, tmp_path: Path) -> None:
        write(tmp_path, "a/1.png", "b/1.png", *(f"a/{n}.gif" for n in range(10)), "a/1.jfif", "b/x/2.JFIF")
        write(tmp_path, "a/Thumbs.db", "b/.hidden.gif", "b/.cache/3.gif", "README.txt")
        found = read_image_folder(tmp_path, "pets")
        assert found.remarks == (f"{tmp_path}: 12 files with other endings were ignored (.gif 10, .jfif 2)",)
        assert read_image_folder(write(tmp_path / "one", "a/1.png", "b/1.png", "b/x"), "o").remarks == (
            f"{tmp_path / 'one'}: 1 file with another ending was ignored (none 1)",
        )

    def test_they_are_named_where_there_is_nothing_else(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no images in .* \(there are \.gif\)"):
            read_image_folder(write(tmp_path, "a/1.gif", "b/1.gif"), "pets")

    def test_loose_images_are_said(self, tmp_path: Path) -> None:
        write(tmp_path, "a/1.png", "b/1.png", "loose.png")
        assert read_image_folder(tmp_path, "pets", "plain").remarks == (
            f"{tmp_path}: 1 image in no class folder was ignored",
        )
        assert not read_image_folder(tmp_path, "pets", "natural").remarks

    def test_hidden_folders_are_no_classes(self, tmp_path: Path) -> None:
        write(tmp_path, "a/1.png", "b/1.png", ".ipynb_checkpoints/1.png", "a/.x/1.png")
        for order in ("plain", "natural"):
            assert labels_of(read_image_folder(tmp_path, "pets", order)) == {"a/1.png": 0, "b/1.png": 1}

    def test_a_pipe_is_no_image(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(Exception, match="not a plain file"):
            decode_image(tmp_path / "pipe.png", "pipe.png")


@pytest.mark.parametrize("unreadable", [".", "b", "b/inner"])
def test_an_unreadable_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    write(tmp_path, "a/1.png", "b/1.png", "b/inner/2.png")
    read = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path) == tmp_path / unreadable:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for order in (None, "plain", "natural"):
        with pytest.raises(UserError) as caught:
            read_image_folder(tmp_path, "pets", order)
        assert str(caught.value).startswith(
            f"cannot read the folder {tmp_path / unreadable} (Permission denied), whose images"
        )


class TestLinks:
    @pytest.mark.parametrize("target", ["..", ".", "../..", "../../data/a"])
    def test_a_loop_multiplies_nothing(self, tmp_path: Path, target: str) -> None:
        data = write(tmp_path / "data", *(f"{name}/{n}.png" for name in "ab" for n in range(40)))
        (data / "a" / "loop").symlink_to(target)
        found = read_image_folder(data, "pets")
        assert len(found) == 80
        assert np.bincount(found.labels).tolist() == [40, 40]
        assert found.remarks == (f"{data}: links to a folder above them were not followed (a/loop)",)

    def test_links_to_other_places_are_followed(self, tmp_path: Path) -> None:
        write(tmp_path, "kept/cat/1.png", "data/dog/1.png", "kept/x.png")
        (tmp_path / "data" / "cat").symlink_to("../kept/cat")
        (tmp_path / "data" / "dog" / "2.png").symlink_to("../../kept/x.png")
        for order, reader in (("natural", timms_labels), ("plain", torchvisions_labels)):
            found = labels_of(read_image_folder(tmp_path / "data", "pets", order))
            assert found == reader(tmp_path / "data") == {"cat/1.png": 0, "dog/1.png": 1, "dog/2.png": 1}

    def test_one_folder_by_two_ways_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, "cat/1.png", "dog/1.png")
        (tmp_path / "puss").symlink_to("cat")
        with pytest.raises(UserError, match=r"puss and .*cat are the same folder; expected every image once"):
            read_image_folder(tmp_path, "pets")

    def test_many_links_among_each_other_end_at_once(self, tmp_path: Path) -> None:
        names = string.ascii_lowercase
        write(tmp_path, *(f"{name}/1.png" for name in names))
        for name in names:
            for other in names:
                (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
        with pytest.raises(UserError, match="are the same folder"):
            read_image_folder(tmp_path, "pets")

    def test_links_that_lead_nowhere_are_unreadable_images_or_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, "a/1.png", "b/1.png")
        (tmp_path / "a" / "gone.png").symlink_to("nowhere")
        (tmp_path / "a" / "self").symlink_to("self")
        assert labels_of(read_image_folder(tmp_path, "pets")) == {"a/1.png": 0, "a/gone.png": 0, "b/1.png": 1}


NAMES = st.one_of(
    st.text("aAbB012.-_ é", min_size=1, max_size=4),
    st.integers(0, 30).map(str),
    st.builds("{}{}".format, st.sampled_from(["class", "Class", "n0"]), st.integers(0, 12)),
).filter(lambda name: not name.startswith(".") and Path(name).suffix == "" and name.strip("."))
FILES = st.sampled_from(["1.png", "2.jpg", "x.JPEG", "10.png", "a b.jpg"])
TREES = st.dictionaries(
    NAMES,
    st.one_of(
        st.lists(FILES, max_size=3, unique=True),
        st.dictionaries(NAMES, st.lists(FILES, max_size=2, unique=True), max_size=3),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_every_tree_is_read_as_timm_and_torchvision_read_it(tree: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for top, below in tree.items():
            inner = below if isinstance(below, dict) else {"": below}
            for name, files in inner.items():
                write(root, f"{top}/{name}/", *(f"{top}/{name}/{file}" for file in files))
        for order, reader in (("natural", timms_labels), ("plain", torchvisions_labels)):
            try:
                found = labels_of(read_image_folder(root, "tree", order))
            except UserError:
                continue
            if order == "natural":
                names = {Path(path).parent.name for path in found}
                assume(
                    len({str(natural_key(name)) for name in names}) == len(names)
                )  # timm leaves it to chance
            assert found == reader(root)
        try:
            undecided = read_image_folder(root, "tree")
        except UserError:
            return
        assert labels_of(undecided) == torchvisions_labels(root)
        assert len(undecided) == 0 or undecided.two_orders == (
            labels_of(undecided) != timms_labels(root) and len(set(timms_labels(root).values())) > 1
        )


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=6)))
def test_the_natural_key_is_that_of_timm(names: list[str]) -> None:
    ensure_torchvision()
    from timm.utils.misc import natural_key as timms_key

    for name in names:
        if not any(part.isdigit() and not part.isdecimal() for part in name):  # at which timm fails
            assert natural_key(name) == timms_key(name)
    sorted(names, key=natural_key)


def test_a_tree_of_real_images_loads(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (int(name), 0, 0)).save(tmp_path / name / "a.png")
    found = read_image_folder(tmp_path, "n", "natural")
    assert [found.load(i).getpixel((0, 0)) for i in range(3)] == [(1, 0, 0), (10, 0, 0), (2, 0, 0)]
    assert found.labels.tolist() == [0, 2, 1]
