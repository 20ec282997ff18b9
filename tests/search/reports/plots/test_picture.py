"""What is asked of pictures: sizes, formats and places, with one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.search.reports.plots.picture import (
    PICTURES,
    SCREEN,
    Place,
    checked_dpi,
    checked_formats,
    checked_pictures,
    picture_size,
)
from bitfront.spaces import UserError


@pytest.mark.parametrize(
    ("asked", "width", "font"),
    [
        ("column", 3.25, 8.0),
        ("page", 6.875, 8.0),
        ("slide", 12.0, 16.0),
        ("5", 5.0, 8.0),
        (5, 5.0, 8.0),
        ("3.5in", 3.5, 8.0),
        ("88 mm", 88 / 25.4, 8.0),
        ("18.2cm", 18.2 / 2.54, 9.0),
        (".5e1", None, None),
    ],
)
def test_sizes(asked: str | float, width: float | None, font: float | None) -> None:
    if width is None:
        with pytest.raises(UserError, match="no size of a picture"):
            picture_size(asked)
        return
    size = picture_size(asked)
    assert (size.width, size.font) == (pytest.approx(width), font)


def test_no_size_is_that_of_a_screen_and_papers_have_captions() -> None:
    assert picture_size(None) is SCREEN
    assert SCREEN.titled
    assert picture_size("slide").titled
    assert not picture_size("column").titled
    assert picture_size("column").dpi == 300


@pytest.mark.parametrize("asked", ["huge", "", "-3", "3 feet", "nan", "inf"])
def test_what_is_no_size_is_refused_with_the_sizes_there_are(asked: str) -> None:
    with pytest.raises(UserError, match="expected column, page, slide, or a width such as 88mm"):
        picture_size(asked)


@pytest.mark.parametrize("asked", ["0", "1.9in", "41", "2mm"])
def test_widths_that_no_picture_can_have(asked: str) -> None:
    with pytest.raises(UserError, match="2 to 40 inches wide"):
        picture_size(asked)


def test_formats_and_pictures_are_known_ones_each_once() -> None:
    assert checked_formats(["PNG", " svg", "png"]) == ("png", "svg")
    assert checked_pictures(["bit_map", "front"]) == ("bit_map", "front")
    with pytest.raises(UserError, match="'gif' is no format of pictures: expected some of png, svg, pdf"):
        checked_formats(["png", "gif"])
    with pytest.raises(UserError, match="'' is no format"):
        checked_formats([])
    with pytest.raises(UserError, match="'bitmap' is no picture"):
        checked_pictures(["bitmap"])
    with pytest.raises(UserError, match="30 to 2400 pixels per inch, not 7"):
        checked_dpi(7)


def test_a_folder_has_a_file_for_each_format(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "v1.2", tmp_path, ["svg", "pdf"], None)
    assert place.files("front") == [tmp_path / "v1.2" / "front.svg", tmp_path / "v1.2" / "front.pdf"]
    assert Place.of(None, tmp_path / "plots", None, None).files("front") == [tmp_path / "plots" / "front.png"]


def test_a_file_is_one_picture_in_the_format_of_its_ending(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "a.PDF", tmp_path, None, None)
    assert (place.files("front"), place.formats, place.single) == (
        [tmp_path / "a.PDF"],
        ("pdf",),
        PICTURES[0],
    )
    assert Place.of(tmp_path / "a.svg", tmp_path, ["svg"], ("bit_map",)).single == "bit_map"
    (tmp_path / "b.png").mkdir()
    assert Place.of(tmp_path / "b.png", tmp_path, None, None).single == ""


@pytest.mark.parametrize(
    ("name", "formats", "pictures", "message"),
    [
        ("a.eps", None, None, "pictures are png, svg, pdf; choose another ending"),
        ("a.pdf", ["png"], None, "--format asks for png: name a folder, or leave out --format"),
        ("a.pdf", ["png", "pdf"], None, "--format asks for png, pdf"),
        ("a.pdf", None, ("front", "bit_map"), "one file for front, bit_map"),
        ("nowhere/a.pdf", None, None, "there is no folder"),
        ("nowhere/deep", None, None, "there is no folder"),
    ],
)
def test_places_that_cannot_be_meant(
    tmp_path: Path, name: str, formats: list[str] | None, pictures: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Place.of(tmp_path / name, tmp_path, formats, pictures)
    assert not list(tmp_path.iterdir())
