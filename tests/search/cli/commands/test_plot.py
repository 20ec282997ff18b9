"""``bitfront plot``: formats, sizes, titles and places of one run and of several together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, count in (("first", 60), ("second", 90)):
        make_run(folder, name=name, count=count, encoders=4)
    return folder


@pytest.fixture
def plot(bitfront: Any, root: Path) -> Callable[..., Any]:
    return lambda *words: bitfront("plot", *words, "--runs-dir", root)


def test_every_picture_in_every_format(plot: Any, root: Path, tmp_path: Path) -> None:
    done = plot("first", "--format", "png,svg,pdf", "--size", "column", "--output", tmp_path / "p", "--json")
    files = [Path(name) for name in json.loads(done.out)["plots"]]
    assert [file.name for file in files[:4]] == ["front.png", "front.svg", "front.pdf", "front_size.png"]
    assert len(files) == 15
    assert sorted(files) == sorted((tmp_path / "p").iterdir())
    for file in files:
        start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[file.suffix]
        assert file.read_bytes().startswith(start)
    with Image.open(files[0]) as image:
        assert image.size[0] == 975  # 3.25 inches of 300 pixels


def test_one_picture_as_a_file(plot: Any, tmp_path: Path) -> None:
    done = plot(
        "first", "--output", tmp_path / "figure3.svg", "--only", "bit_map", "--title", "Bits & pieces"
    )
    assert done.out.strip() == str(tmp_path / "figure3.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["figure3.svg"]
    done = plot("first", "--output", tmp_path / "f.png", "--size", "88mm", "--dpi", "100")
    with Image.open(tmp_path / "f.png") as image:
        assert image.size[0] == int(88 / 25.4 * 100)


def test_titles_and_none(plot: Any, tmp_path: Path) -> None:
    def height(*words: str) -> int:
        assert plot("first", "--output", tmp_path / "a.png", "--only", "hypervolume", *words).status == 0
        with Image.open(tmp_path / "a.png") as image:
            return int(image.size[1])

    assert height("--no-title") < height("--title", "T") < height()
    assert height("--size", "column") < height("--size", "column", "--title", "T")
    assert "not allowed with" in plot("first", "--no-title", "--title", "T").error


def test_several_runs_have_a_folder_of_their_own_that_is_no_run(bitfront: Any, plot: Any, root: Path) -> None:
    done = plot("second", "first", "--labels", "A,B", "--json")
    found = json.loads(done.out)
    assert found["runs"] == ["second", "first"]
    names = ["front", "front_size", "front_latency", "hypervolume"]
    assert found["plots"] == [str(root / "second+first" / f"{name}.png") for name in names]
    assert found["notes"] == []
    listed = json.loads(bitfront("runs", "--runs-dir", root, "--json").out)
    assert {run["name"] for run in listed["runs"]} == {"first", "second"}


def test_several_runs_that_differ_are_one_line(plot: Any, root: Path, make_run: Callable[..., Path]) -> None:
    make_run(root, name="modelled", count=30, encoders=4, source="model:bops")
    refused = plot("first", "modelled")
    assert refused.status == 2
    assert "first: measured:torch, modelled: model:bops" in refused.error
    assert "--only front_size,hypervolume" in refused.error
    done = plot("first", "modelled", "--only", "front_size")
    assert done.status == 0
    assert done.out.splitlines() == [str(root / "first+modelled" / "front_size.png")]


def test_long_names_have_a_short_folder(plot: Any, root: Path, make_run: Callable[..., Path]) -> None:
    for letter in "xy":
        make_run(root, name=60 * letter, count=30, encoders=2)
    done = plot(60 * "x", 60 * "y", "--only", "front_size")
    assert Path(done.out.strip()).parent.name.startswith("2+runs+")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("first", "--labels", "A"), "--labels tells several runs apart, and one is drawn"),
        (("first", "second", "--labels", "A"), "expected 2 different ones, got A"),
        (("first", "frist"), "did you mean first?"),
        (("first", "--format", "png,tiff"), "'tiff' is no format of pictures"),
        (("first", "--size", "wide"), "expected column, page, slide"),
        (("first", "--only", "fronts"), "'fronts' is no picture"),
        (("first", "--dpi", "0"), "not a whole number above 0"),
        (("first", "--output", "x.jpg"), "pictures are png, svg, pdf"),
    ],
)
def test_mistakes_are_one_line(plot: Any, words: tuple[str, ...], message: str) -> None:
    refused = plot(*words)
    assert refused.status == 2
    assert message in refused.error


def test_pictures_that_there_are_none_of_are_named(
    plot: Any, root: Path, make_run: Callable[..., Path]
) -> None:
    folder = make_run(root, name="bare", count=30, encoders=2)
    (folder / "front.csv").write_text((folder / "front.csv").read_text().splitlines()[0] + "\n")
    assert "run bare has no bit_map yet" in plot("bare", "--only", "bit_map").error
    assert "runs bare, first have no front_size yet" in plot("bare", "first", "--only", "front_size").error
