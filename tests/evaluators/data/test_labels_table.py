"""Tables of labels as people write them: read right, or refused in one line."""

from __future__ import annotations

import codecs
import csv
import io
import string
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bitfront.evaluators.context.preparing import source_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.labels_table import read_labels_table
from bitfront.evaluators.data.registry import open_source, open_sources
from bitfront.evaluators.data.source import CorruptImageError, has_two_orders
from bitfront.search.cli.options.specs import evaluation_spec, written_options
from bitfront.search.cli.parser import parse
from bitfront.spaces import UserError

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, some of them below others."""
    for number, name in enumerate((*NAMES, "images/a.png", "cat/1.png", "dog/2.png", "two words.png")):
        write_image(tmp_path / name, number + 1)
    return tmp_path


def write_image(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(path)


def read(
    folder: Path, content: str | bytes, columns: Sequence[str] = (), name: str = "labels.csv"
) -> ImageFiles:
    """What a table with some content is read as."""
    encoded = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(encoded)
    return read_labels_table(folder / name, "mine", columns)


def listed(source: ImageFiles) -> dict[str, Any]:
    return dict(zip(source.files, source.labels.tolist(), strict=True))


def refused(folder: Path, content: str | bytes, match: str, columns: Sequence[str] = ()) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read(folder, content, columns)
    assert "\n" not in str(caught.value)


PLAIN = {"a.png": 7, "b.png": 0, "c.png": 3}


class TestText:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", ", ", " ; "])
    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("header", [("path", "label"), ("Filename", "Class_ID"), None])
    def test_separators_and_line_ends(
        self, folder: Path, separator: str, ending: str, header: tuple[str, str] | None
    ) -> None:
        rows = [] if header is None else [header]
        lines = [separator.join(map(str, row)) for row in [*rows, *PLAIN.items()]]
        source = read(folder, ending.join([*lines, ""]))
        assert listed(source) == PLAIN
        assert np.asarray(source.load(1)).max() == 2

    @pytest.mark.parametrize(
        "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark", "utf-16-be with mark", "cp1252"]
    )
    def test_encodings(self, folder: Path, encoding: str) -> None:
        write_image(folder / "Käfer.png")
        text = "path,label\na.png,1\nKäfer.png,2\n"
        name, _, mark = encoding.partition(" with ")
        marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
        source = read(folder, (marks[name] if mark else b"") + text.encode(name))
        assert listed(source) == {"a.png": 1, "Käfer.png": 2}
        assert [remark.partition(": ")[2] for remark in source.remarks] == (
            ["not UTF-8, and read as Windows-1252 (western European)"] if encoding == "cp1252" else []
        )

    @pytest.mark.parametrize(
        "content", [b"path,label\n\xff\xfe\x00,1\n", "path,label\na.png,1\n".encode("utf-16-le"), b"\x81\x8d"]
    )
    def test_what_is_no_text_is_refused(self, folder: Path, content: bytes) -> None:
        refused(folder, content, "expected a UTF-8 text file: save the table as that")

    def test_quotes_and_blanks(self, folder: Path) -> None:
        write_image(folder / "x, y.png")
        source = read(
            folder, 'path,label,note\n"x, y.png",1,"a ""word"""\n a.png , 2 ,x\n\n"b.png", "3",\n,,\n'
        )
        assert listed(source) == {"x, y.png": 1, "a.png": 2, "b.png": 3}
        refused(folder, 'path,label\n"a.png,1\n', "cannot read .*quotes in pairs")
        refused(folder, "path,label\nx, y.png,1\n", "line 2 has more values than there are columns")

    def test_spreadsheets_name_their_separator(self, folder: Path) -> None:
        for separator in (";", "\t", ","):
            content = f"sep={separator}\r\npath{separator}label\r\na.png{separator}4\r\n"
            assert listed(read(folder, content)) == {"a.png": 4}
        refused(folder, "sep=;\npath;label\na.png;x;\nb.png;3\n", "line 3: label 'x'")

    def test_the_last_blank_separates(self, folder: Path) -> None:
        source = read(folder, "a.png 65\ntwo words.png 970\n", name="val.txt")
        assert listed(source) == {"a.png": 65, "two words.png": 970}
        assert source.remarks == (
            f"{folder / 'val.txt'}: the first line is taken for an image, not for names of columns",
        )


class TestColumns:
    @pytest.mark.parametrize(
        "header",
        ["path,label", "label,path", "filename,label", "image,class", "file_name,category", "FilePath,Target",
         "img,class_id", "image path,label", "path,breed", "image,species", "id,label", "name,label"],
    )  # fmt: skip
    def test_usual_names_and_what_is_left(self, folder: Path, header: str) -> None:
        first, second = ("{1},{0}" if header.startswith("label") else "{0},{1}").split(",")
        rows = [",".join((first, second)).format(*row) for row in PLAIN.items()]
        source = read(folder, "\n".join([header, *rows]))
        assert listed(source) == PLAIN
        said = [remark.partition(" took the columns ")[2] for remark in source.remarks]
        usual = set(header.split(",")) == {"path", "label"}
        assert said == ([] if usual else [header])

    @pytest.mark.parametrize(
        ("text", "columns"),
        [
            ("file,image,label\na.png,b.png,1\n", ("image", "label")),
            ("path,class_id,class_name\na.png,1,cat\n", ("path", "class_id")),
            ("path,class_id,class_name\na.png,1,cat\n", ("path", "class_name")),
            ("a b,c d\na.png,1\n", ("a b", "c d")),
        ],
    )
    def test_columns_that_may_be_meant_are_asked_for(
        self, folder: Path, text: str, columns: tuple[str, str]
    ) -> None:
        if columns[0] != "a b":
            refused(folder, text, "has the columns .*; expected .*; name them with --columns PATH,LABEL")
        source = read(folder, text, columns)
        row = dict(zip(text.split("\n")[0].split(","), text.split("\n")[1].split(","), strict=True))
        assert source.files == (row[columns[0]],)
        label = row[columns[1]]
        assert source.labels.tolist() == ([int(label)] if label.isdigit() else [0])
        assert source.class_names == (None if label.isdigit() else (label,))

    def test_unknown_columns_are_refused(self, folder: Path) -> None:
        refused(folder, "", r"columns \(none\); expected path,label")
        refused(folder, "path,label\na.png,1\n", "columns path,label; expected file,class", ("file", "class"))
        refused(folder, "one,two,three\n1,2,3\n", "columns one,two,three; expected path,label")
        refused(folder, "path,cat,cat\na.png,1,0\n", "columns path,cat,cat; expected path,label, or path and")
        refused(folder, "x.png 3\n", "columns x.png 3; expected path,label")

    def test_a_column_of_splits_is_told_of(self, folder: Path) -> None:
        source = read(folder, "path,label,split\na.png,1,train\nb.png,0,test\n")
        assert listed(source) == {"a.png": 1, "b.png": 0}
        (told,) = source.remarks
        assert told.startswith(f"{folder}/labels.csv: the column split is not used; --calib")
        assert read(folder, "path,label,note\na.png,1,x\n").remarks == ()
        assert read(folder, "path,split\na.png,1\n", ("path", "split")).remarks == ()

    def test_a_column_for_each_of_several_labels(self, folder: Path) -> None:
        source = read(folder, "path,cat,dog\na.png,1,0\nb.png,1,1\n")
        assert source.class_names == ("cat", "dog")
        assert source.labels.tolist() == [[1, 0], [1, 1]]
        assert source.remarks == ()
        # One of them may be called as a label is.
        assert read(folder, "path,class,dog\na.png,1,0\nb.png,1,1\n").class_names == ("class", "dog")
        source = read(folder, "image,x,y,note\na.png,1,0,good\n", ("image", "x", "y"))
        assert source.class_names == ("x", "y")
        assert source.labels.tolist() == [[1, 0]]
        refused(
            folder, "path,cat,dog\na.png,1,2\n", "line 2: dog is '2'; expected 0 or 1, or a column called"
        )
        refused(folder, "path,cat,dog\na.png,1\n", "line 2: dog is ''")
        refused(folder, "path,cat,dog\na.png,1,0,1\n", "line 2 has more values than there are columns")

    def test_a_table_without_names_needs_a_file_in_one_column(self, folder: Path) -> None:
        assert listed(read(folder, "1,a.png\n2,b.png\n")) == {"a.png": 1, "b.png": 2}
        source = read(folder, "cat/1.png,cat\ndog/2.png,dog\n")
        assert listed(source) == {"cat/1.png": 0, "dog/2.png": 1}
        assert source.class_names == ("cat", "dog")
        refused(folder, "a.png,b.png\n", "has the columns a.png,b.png")
        refused(folder, "a.png,1,2\n", "has the columns a.png,1,2")


class TestLabels:
    def test_numbers(self, folder: Path) -> None:
        assert listed(read(folder, "path,label\na.png, 7 \nb.png,2147483647\nc.png,3.0\n")) == {
            "a.png": 7,
            "b.png": 2**31 - 1,
            "c.png": 3,
        }

    def test_names_beside_numbers_are_left_alone(self, folder: Path) -> None:
        source = read(folder, "path,label,class\na.png,1,cat\nb.png,0,dog\n")
        assert listed(source) == {"a.png": 1, "b.png": 0}
        assert source.class_names is None

    def test_names_are_numbered_in_their_order(self, folder: Path) -> None:
        source = read(folder, "path,label\na.png,dog\nb.png,Cat\nc.png,dog\n")
        assert source.class_names == ("Cat", "dog")
        assert source.labels.tolist() == [1, 0, 1]
        # Of those of all rows, whether the file is there or not.
        source = read(folder, "path,label\na.png,dog\nb.png,Cat\ngone.png,ape\n")
        assert source.class_names == ("Cat", "ape", "dog")
        assert listed(source) == {"a.png": 2, "b.png": 0}

    @pytest.mark.parametrize(
        ("rows", "match"),
        [
            ("a.png,1\nb.png,cat\n", "line 3: label 'cat' is not a class index; expected a whole number"),
            ("a.png,cat\nb.png,1\n", "line 2: label 'cat'"),
            ("a.png,-1\n", "line 2: label '-1'"),
            ("a.png,1.5\n", "line 2: label '1.5'"),
            ("a.png,1e3\n", "line 2: label '1e3'"),
            ("a.png,2147483648\n", "line 2: label"),
            ("a.png,99999999999999\n", "line 2: label"),
            ("a.png,\u0663\n", "line 2: label"),
        ],
    )
    def test_neither_numbers_nor_names(self, folder: Path, rows: str, match: str) -> None:
        refused(folder, f"path,label\n{rows}", match)

    def test_rows_without_a_label_are_left_out_and_counted(self, folder: Path) -> None:
        source = read(folder, "path,label\na.png,\nb.png,1\nc.png\n")
        assert listed(source) == {"b.png": 1}
        assert source.remarks == (f"{folder}/labels.csv: 2 rows without a label left out (line 2)",)
        refused(folder, "path,label\na.png\nb.png,\n", r"lists no images with a label \(2 without\)")
        refused(folder, "path,label\n", "lists no images; expected one line")
        refused(folder, "path,label\n,1\n", "line 2: the path is empty")


class TestClassOrder:
    def test_names_have_the_orders_of_folders(self, folder: Path) -> None:
        text = "path,label\na.png,class 10\nb.png,class 9\nc.png,Class 1\n"
        (folder / "t.csv").write_text(text)
        plain = open_source(str(folder / "t.csv"), "plain")
        assert plain.class_names == ("Class 1", "class 10", "class 9")
        assert not has_two_orders(plain)
        natural = open_source(str(folder / "t.csv"), "natural")
        assert natural.class_names == ("Class 1", "class 9", "class 10")
        assert natural.labels.tolist() == [2, 1, 0]
        undecided = open_source(str(folder / "t.csv"))
        assert undecided.class_names == plain.class_names
        assert has_two_orders(undecided)
        (folder / "t.csv").write_text("path,label\na.png,10\nb.png,9\n")
        assert not has_two_orders(open_source(str(folder / "t.csv")))
        # Joined with class folders, the order is that of all.
        write_image(folder / "more/class 9/x.png")
        write_image(folder / "more/class 10/x.png")
        (folder / "t.csv").write_text(text)
        joined = open_sources(str(folder / "t.csv"), test_data=str(folder / "more"), class_order="natural")
        assert joined.labels.tolist() == [2, 1, 0, 2, 1]  # the folder of class 10 is listed first
        assert has_two_orders(open_sources(str(folder / "t.csv"), test_data=str(folder / "more")))

    def test_a_class_map_says_the_outputs(self, folder: Path) -> None:
        (folder / "map.txt").write_text("ape\ncat\ndog\n")
        for text, labels in (("a.png,dog\nb.png,cat\n", [2, 1]), ("a.png,2\nb.png,0\n", [2, 0])):
            (folder / "t.csv").write_text(f"path,label\n{text}")
            source = open_source(str(folder / "t.csv"), class_map=str(folder / "map.txt"))
            assert source.labels.tolist() == labels
            assert source.class_names == ("ape", "cat", "dog")
        joined = open_sources(
            str(folder / "t.csv"), test_data=str(folder / "t.csv"), class_map=str(folder / "map.txt")
        )
        assert joined.class_names == ("ape", "cat", "dog")
        (folder / "t.csv").write_text("path,label\na.png,dog\nb.png,cow\n")
        with pytest.raises(UserError, match=r"lacks 'cow', which .*t\.csv has"):
            open_source(str(folder / "t.csv"), class_map=str(folder / "map.txt"))
        # Names that are numbers are looked up where the map has them all.
        (folder / "map.txt").write_text("5\n3\n")
        (folder / "t.csv").write_text("path,label\na.png,3\nb.png,5\n")
        assert open_source(str(folder / "t.csv"), class_map=str(folder / "map.txt")).labels.tolist() == [1, 0]
        (folder / "t.csv").write_text("path,cat,dog\na.png,1,0\n")
        with pytest.raises(UserError, match="leave --class-map out"):
            open_source(str(folder / "t.csv"), class_map=str(folder / "map.txt"))


class TestPaths:
    def test_absolute_paths_and_those_above_the_table(self, folder: Path, tmp_path_factory: Any) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        write_image(elsewhere / "x.png", 99)
        (folder / "tables").mkdir()
        content = f"path,label\n{elsewhere}/x.png,1\n../a.png,2\n../images/../b.png,3\n"
        source = read(folder / "tables", content)
        assert listed(source) == {f"{elsewhere}/x.png": 1, "../a.png": 2, "../images/../b.png": 3}
        assert np.asarray(source.load(0)).max() == 99
        assert np.asarray(source.load(1)).max() == 1

    def test_backslashes_where_the_file_is_there(self, folder: Path) -> None:
        write_image(folder / "odd\\name.png", 50)
        source = read(folder, "path,label\nimages\\a.png,1\n.\\b.png,2\nodd\\name.png,3\n")
        assert listed(source) == {"images/a.png": 1, "b.png": 2, "odd\\name.png": 3}
        assert np.asarray(source.load(2)).max() == 50

    @pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
    def test_accents_may_be_composed_otherwise(self, folder: Path, forms: tuple[str, str]) -> None:
        on_disk, written = (unicodedata.normalize(form, "Käfer.png") for form in forms)
        write_image(folder / on_disk)
        assert listed(read(folder, f"path,label\n{written},1\n")) == {on_disk: 1}

    def test_every_image_once(self, folder: Path) -> None:
        twice = r"line 3 lists .*a\.png again \(first in line 2\)"
        for again in ("./a.png", "images/../a.png", str(folder / "a.png"), ".\\a.png"):
            refused(folder, f"path,label\na.png,1\n{again},1\n", twice)

    def test_a_few_missing_files_are_counted(self, folder: Path) -> None:
        source = read(folder, "path,label\na.png,1\nx.png,2\nb.png,3\ny.png,2\n")
        assert listed(source) == {"a.png": 1, "b.png": 3}
        assert source.remarks == (
            f"{folder}/labels.csv: 2 rows left out whose files are not there (first: line 3, x.png)",
        )

    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("nowhere/x.png", "expected paths that are absolute or relative to the table's folder"),
            ("a", "a.png is there: write paths with their endings"),
            ("1.png", "cat/1.png is there: write paths relative to the table's folder"),
            ("C:\\\\data\\\\x.png", "expected paths that are absolute or relative"),
            ("cat", "expected paths that are absolute or relative"),
            ("x" * 5000 + "/a.png", "are not there"),
        ],
    )
    def test_most_files_missing_is_refused_with_what_is_there(
        self, folder: Path, path: str, hint: str
    ) -> None:
        refused(folder, f"path,label\n{path},1\n", "1 of 1 files of .*labels.csv are not there")
        refused(folder, f"path,label\n{path},1\n", hint)

    def test_paths_from_the_current_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        (folder / "tables").mkdir()
        refused(
            folder / "tables",
            "path,label\nimages/a.png,1\n",
            "relative to the table's folder; it is there from",
        )

    def test_an_unreadable_image_is_told_when_it_is_loaded(self, folder: Path) -> None:
        (folder / "bad.png").write_text("no image")
        source = read(folder, "path,label\nbad.png,1\n")
        with pytest.raises(CorruptImageError, match=r"bad\.png: not an image file"):
            source.load(0)


class TestOptions:
    def test_tables_are_known_by_their_ending(self, folder: Path) -> None:
        for ending in ("csv", "CSV", "tsv", "txt"):
            (folder / f"labels.{ending}").write_text("path\tlabel\na.png\t1\n")
            assert len(open_source(str(folder / f"labels.{ending}"))) == 1
        (folder / "labels.xlsx").write_text("path,label\n")
        with pytest.raises(
            UserError, match=r"no table of labels \(\.csv, \.tsv, \.txt\); expected cluttered"
        ):
            open_source(str(folder / "labels.xlsx"))

    def test_columns_are_an_option(self, folder: Path) -> None:
        (folder / "t.csv").write_text("file,image,kind\na.png,b.png,1\n")
        args = parse(["search", "--data", str(folder / "t.csv"), "--columns", "image,kind"])
        spec = evaluation_spec(args, (4, 8))
        assert spec.columns == ("image", "kind")
        assert written_options(args)[-2:] == ["--columns", "image,kind"]
        assert EvaluationSpec.from_json(spec.to_json()) == spec
        assert "columns" not in EvaluationSpec(model="digits_deit", scheme="fq-vit").to_json()
        source = source_of(spec)
        assert isinstance(source, ImageFiles)
        assert source.files == ("b.png",)

    def test_columns_are_for_tables(self, folder: Path) -> None:
        with pytest.raises(UserError, match="--columns a,b is for tables, and digits is none"):
            open_sources("digits", columns=("a", "b"))
        for columns in (("a",), ("a", "a")):
            with pytest.raises(UserError, match="give two different columns"):
                EvaluationSpec(model="digits_deit", scheme="fq-vit", columns=columns).check()


NAME = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " ,;|'\"äßλ日-_.()[]&\t"), min_size=1, max_size=12
).map(str.strip)


def usable(name: str) -> bool:
    return name.strip(". ") != "" and not name.startswith(".")


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(NAME.filter(usable), min_size=1, max_size=5, unique_by=str.lower),
    data=st.data(),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    header=st.sampled_from([("path", "label"), ("Image", "Class"), ("file name", "category_id"), None]),
    extra=st.booleans(),
    numbers=st.booleans(),
)
def test_a_written_table_is_read_as_it_was_meant(
    tmp_path: Path,
    names: list[str],
    data: st.DataObject,
    separator: str,
    ending: str,
    encoding: str,
    header: tuple[str, str] | None,
    extra: bool,
    numbers: bool,
) -> None:
    """Whatever csv writes, of any separator, encoding and names, is read back."""
    labels = [
        str(data.draw(st.integers(0, 1000)))
        if numbers
        else data.draw(
            st.text(st.sampled_from("abcXYZ é,;'\"|"), min_size=1, max_size=8).map(str.strip).filter(bool)
        )
        for _ in names
    ]
    folder = tmp_path / "generated"
    folder.mkdir(exist_ok=True)
    files = [f"{name}.png" for name in names]
    for file in files:
        (folder / file).touch()
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, lineterminator=ending)
    extras = ("note",) if extra and header is not None and header[0] == "path" else ()
    if header is not None:
        writer.writerow((*header, *extras))
    writer.writerows((file, label, *("x" for _ in extras)) for file, label in zip(files, labels, strict=True))
    source = read(folder, buffer.getvalue().encode(encoding))
    assert source.files == tuple(files)
    if numbers:
        assert source.labels.tolist() == [int(label) for label in labels]
    else:
        assert source.class_names is not None
        assert [source.class_names[label] for label in source.labels] == labels


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(content=st.one_of(
    st.binary(max_size=80),
    st.text(st.sampled_from("ab.png,;\t \"'\\/\n\r|01=\ufeff"), max_size=60).map(str.encode),
    st.text(max_size=40).map(lambda text: f"path,label\na.png,{text}\n".encode("utf-8", "replace")),
    st.text(max_size=40).map(lambda text: f"path,label\n{text},1\n".encode("utf-8", "replace")),
))  # fmt: skip
def test_any_content_is_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_bytes(content)
    try:
        source = open_source(str(tmp_path / "labels.csv"))
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert len(source) == len(source.labels) > 0
        assert {Path(source.describe(i)).name for i in range(len(source))} <= {"a.png", "labels.csv"}
    assert "\n" not in message
