"""Class maps: timm's form, tables, JSON, and what is refused."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitfront.evaluators.data.class_map import read_class_map
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_lines_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    ensure_torchvision()
    from timm.data.readers.class_map import load_class_map

    path = written(tmp_path, "names.txt", "tench\n goldfish, Carassius \n\n10\n2\n")
    found = read_class_map(path)
    expected = load_class_map(str(path))
    assert found.indices == {name: index for name, index in expected.items() if name}
    assert found.names == ("tench", "goldfish, Carassius", "2", "10", "2")
    assert found.lookup(["10", "tench", "10"], "it") == [3, 0, 3]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.txt", "\ufeffcat\r\ndog\r\n"),
        ("labels", "cat\ndog"),
        ("map.csv", "cat,0\ndog,1\n"),
        ("map.csv", "class,index\ncat,0\n\ndog,1\n"),
        ("map.csv", "0,cat\n1,dog\n"),
        ("map.csv", "cat\ndog\n"),
        ("map.tsv", "id\tname\n1\tdog\n0\tcat\n"),
        ("map.json", '{"cat": 0, "dog": 1}'),
        ("map.json", '{"0": "cat", "1": "dog"}'),
        ("map.json", '["cat", "dog"]'),
        ("config.json", '{"model_type": "vit", "id2label": {"1": "dog", "0": "cat"}}'),
    ],
)
def test_every_form_gives_the_same_map(tmp_path: Path, name: str, text: str) -> None:
    found = read_class_map(written(tmp_path, name, text))
    assert found.indices == {"cat": 0, "dog": 1}
    assert found.names == ("cat", "dog")


def test_numbers_as_names_are_names_first(tmp_path: Path) -> None:
    assert read_class_map(written(tmp_path, "map.csv", "1,0\n10,1\n2,2\n")).indices == {
        "1": 0,
        "10": 1,
        "2": 2,
    }
    assert read_class_map(written(tmp_path, "map.json", '{"0": "1", "1": "10"}')).indices == {"1": 0, "10": 1}


def test_outputs_without_a_name_have_their_number(tmp_path: Path) -> None:
    found = read_class_map(written(tmp_path, "map.json", json.dumps({"cat": 3, "puss": 3, "dog": 1})))
    assert found.names == ("0", "dog", "2", "cat")
    assert found.lookup(["puss", "cat"], "it") == [3, 3]


def test_missing_names_are_named(tmp_path: Path) -> None:
    found = read_class_map(written(tmp_path, "map.txt", "crane\ncat\ncrane\n"))
    with pytest.raises(
        UserError, match=r"lacks 'a', 'b', 'c', 'd', 'e' and 2 more, which /data has"
    ) as caught:
        found.lookup(["cat", *"abcdefg"], "/data")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has several lines for 'crane', which /data has"):
        found.lookup(["crane", "cat"], "/data")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("map.pkl", pickle.dumps({"cat": 0}, 0), "is a pickle, which can run any code"),
        ("map.txt", pickle.dumps({"cat": 0}), "is a pickle, which can run any code"),
        ("map.txt", b"\n \n", "it has no class names"),
        ("map.txt", b"\xff\xfec\x00", "cannot be read: .*utf-8"),
        ("map.csv", b"cat,0,1\n", "row 1 has 3 columns, not name,index"),
        ("map.csv", b"cat,0\ndog,-1\n", "'-1', the index of 'dog', is no whole number"),
        ("map.json", b'{"cat": 0', "cannot be read"),
        ("map.json", b'{"cat": -1}', "-1 is no index of an output"),
        ("map.json", b'{"cat": 99999999}', "99999999 is no index of an output"),
        ("map.json", b'{"cat": [0]}', "the entry 'cat' is no pair"),
        ("map.json", b'"cat"', "neither a list nor an object"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=match) as caught:
        read_class_map(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "one class name a line" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the class map .*gone\.txt: No such file"):
        read_class_map(tmp_path / "gone.txt")


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(LINES, max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_text_is_read_as_timm_reads_it(lines: list[str], end: str) -> None:
    ensure_torchvision()
    from timm.data.readers.class_map import load_class_map

    names = [line.strip() for line in lines if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.txt"
        path.write_bytes(end.join(lines).encode())
        expected = {name: index for name, index in load_class_map(str(path)).items() if name}
        try:
            found = read_class_map(path).indices
        except UserError:
            return
    assert found == {name: index for name, index in expected.items() if names.count(name) == 1}


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=40).map(str.encode),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(-2, 40), st.text(max_size=3)),
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
        ).map(lambda document: json.dumps(document).encode()),
        st.lists(st.tuples(LINES, st.integers(-1, 9).map(str)), max_size=4).map(
            lambda rows: "\n".join(map(",".join, rows)).encode()
        ),
    ),
    st.sampled_from([".txt", ".csv", ".tsv", ".json", ".pkl", ""]),
)
def test_no_content_ends_in_a_traceback(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"map{suffix}"
        path.write_bytes(content)
        try:
            found = read_class_map(path)
        except UserError as error:
            message = str(error)
        else:
            assert all(found.names[index] is not None for index in found.indices.values())
            return
    assert "\n" not in message
