"""What is asked of pictures, as values: how large they are, which are drawn, where they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.files import check_writable
from bitfront.search.problem.objectives import FURTHER_COSTS
from bitfront.spaces import UserError

FORMATS = ("png", "svg", "pdf")
# Of a run; several runs together have no bit map. Others of a run are drawn where they are named.
USUAL_PICTURES = (
    *("front", "front_size", "front_latency", *(f"front_{cost}" for cost in FURTHER_COSTS)),
    *("bit_map", "hypervolume"),
)
# Of one run by several sources of latencies.
BY_SOURCE = "front_by_source"
PICTURES = (*USUAL_PICTURES, "front_costs", "hypervolume_time", "sensitivities", BY_SOURCE)
SCREEN_DPI, PRINT_DPI = 150, 300
_DPI = (30, 2400)
# Endings that are taken for those of pictures, so that such a name is no folder.
_OTHER_FORMATS = ("eps", "ps", "jpg", "jpeg", "gif", "tif", "tiff", "webp", "bmp", "emf")
_UNITS = {"": 1.0, "in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4}
_WIDTHS = (2.0, 40.0)
# Inches: as wide as a page, whose texts are as large as those of a column.
_PAGE = 7.0


@dataclass(frozen=True)
class PictureSize:
    """The width of a picture and what goes with it; the height follows from what is drawn.

    Attributes:
        width: In inches; None for as wide as suits a screen.
        font: Of ordinary text, in points; lines and marks grow with it, and no text is smaller than 8 points.
        titled: Whether there is a heading where none is asked for: figures of papers have captions.
        dpi: Pixels per inch of a PNG where no other number is asked for.
    """

    width: float | None = None
    font: float = 9.0
    titled: bool = True
    dpi: int = SCREEN_DPI


SCREEN = PictureSize()
# Column and text width of IEEE and CVPR templates; most of a slide of 13.33 x 7.5 inches.
SIZES = {
    "column": PictureSize(3.25, 8.0, titled=False, dpi=PRINT_DPI),
    "page": PictureSize(6.875, 8.0, titled=False, dpi=PRINT_DPI),
    "slide": PictureSize(12.0, 16.0),
}


def picture_size(asked: str | float | PictureSize | None) -> PictureSize:
    """The size that was asked for.

    Args:
        asked: ``column``, ``page``, ``slide``, or a width: a number of inches, or one with ``in``, ``cm`` or
            ``mm``. None for one that suits a screen.

    Raises:
        UserError: It is none of these, or below 2 or above 40 inches.
    """
    if isinstance(asked, PictureSize):
        return asked
    if asked is None:
        return SCREEN
    if str(asked) in SIZES:
        return SIZES[str(asked)]
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(in|cm|mm|)\s*", str(asked))
    if found is None:
        raise UserError(
            f"{str(asked)!r} is no size of a picture: expected {', '.join(SIZES)}, or a width such as 88mm"
        )
    width = float(found[1]) * _UNITS[found[2]]
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        low, high = _WIDTHS
        raise UserError(f"pictures are {low:g} to {high:g} inches wide, not {width:.4g}: choose another size")
    return PictureSize(width, 8.0 if width <= _PAGE else 9.0, dpi=PRINT_DPI)


def checked_formats(asked: Iterable[str]) -> tuple[str, ...]:
    """Formats of pictures, each once.

    Raises:
        UserError: One is none of :data:`FORMATS`, or there is none.
    """
    return _known("format of pictures", [name.strip().lower() for name in asked], FORMATS)


def checked_pictures(asked: Iterable[str]) -> tuple[str, ...]:
    """Names of pictures, each once.

    Raises:
        UserError: One is none of :data:`PICTURES`, or there is none.
    """
    return _known("picture", [name.strip() for name in asked], PICTURES)


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in asked or [""]:
        if name not in known:
            raise UserError(f"{name!r} is no {what}: expected some of {', '.join(known)}")
    return tuple(dict.fromkeys(asked))


def checked_dpi(dpi: int) -> int:
    """A number of pixels per inch.

    Raises:
        UserError: It is below 30 or above 2400.
    """
    if not _DPI[0] <= dpi <= _DPI[1]:
        raise UserError(
            f"pictures have {_DPI[0]} to {_DPI[1]} pixels per inch, not {dpi}: choose another --dpi"
        )
    return dpi


@dataclass(frozen=True)
class Place:
    """Where pictures are written: a folder with a file for each, or one file.

    Attributes:
        path: The folder or the file.
        formats: Of the files.
        single: The picture that the file is to hold; empty for a folder.
    """

    path: Path
    formats: tuple[str, ...] = ("png",)
    single: str = ""

    @classmethod
    def of(
        cls, output: Path | None, default: Path, formats: Sequence[str] | None, pictures: Sequence[str] | None
    ) -> Place:
        """Where to write, found out and checked before anything is drawn.

        Args:
            output: What the user named: a file where it ends like a picture, a folder otherwise.
            default: The folder where nothing was named.
            formats: What was asked for, or None.
            pictures: Those to be drawn, or None for all.

        Raises:
            UserError: The place cannot be written, or one file is named for several pictures or formats.
        """
        chosen = checked_formats(formats) if formats is not None else ("png",)
        if output is None:
            return cls(default, chosen)
        ending = output.suffix.lower().removeprefix(".")
        if output.is_dir() or ending not in (*FORMATS, *_OTHER_FORMATS):
            check_writable(output / f"front.{chosen[0]}", make_folder=True)
            return cls(output, chosen)
        if ending not in FORMATS:
            raise UserError(
                f"cannot write {output}: pictures are {', '.join(FORMATS)}; choose another ending"
            )
        if formats is not None and chosen != (ending,):
            raise UserError(
                f"{output} is one {ending} file, and --format asks for {', '.join(chosen)}: name a folder, "
                "or leave out --format"
            )
        if pictures is not None and len(pictures) > 1:
            raise UserError(
                f"{output} is one file for {', '.join(pictures)}: name a folder, or one picture with --only"
            )
        check_writable(output)
        return cls(output, (ending,), pictures[0] if pictures else PICTURES[0])

    def files(self, picture: str) -> list[Path]:
        """The files of a picture."""
        return [self.path] if self.single else [self.path / f"{picture}.{ending}" for ending in self.formats]
