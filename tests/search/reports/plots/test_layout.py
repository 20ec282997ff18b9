"""Pictures of every size: as wide as asked, legible, and with all that they say inside of them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import zlib
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from bitfront.search.reports.plots.layout import Heading, text_width, wrapped
from bitfront.search.reports.plots.picture import SCREEN, Place, picture_size
from bitfront.search.reports.plots.run_plots import run_figures, write_figures
from bitfront.search.reports.plots.style import new_figure, renderer_of, save_figure
from bitfront.search.runs.reader import RecordedRun

SIZES = [None, "column", "page", "slide"]


@pytest.fixture(scope="module")
def run(runs_dir: Path) -> RecordedRun:
    return RecordedRun.read(runs_dir, "digits-1")


def drawn_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Where everything that is drawn stands, in pixels."""
    figure.canvas.draw()
    renderer = renderer_of(figure)
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    found = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    found += [("legend", legend.get_window_extent(renderer)) for legend in figure.legends]
    return found + [("axes", axes.get_tightbbox(renderer)) for axes in figure.axes]


@pytest.mark.parametrize("size", SIZES)
def test_texts_are_legible_and_inside(run: RecordedRun, size: str | None) -> None:
    asked = picture_size(size)
    for name, figure in run_figures(run, size=asked, title="A title of the user's own").items():
        width, height = figure.get_size_inches()
        assert asked.width is None or width == asked.width
        assert height < 4 * width
        for what, box in drawn_boxes(figure):
            assert min(box.x0, box.y0) > -2, f"{name}: {what}"
            assert box.x1 < width * figure.dpi + 2, f"{name}: {what}"
            assert box.y1 < height * figure.dpi + 2, f"{name}: {what}"
        assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 8.0, name


def test_a_saved_figure_of_python_is_whole(run: RecordedRun, tmp_path: Path) -> None:
    [figure] = run_figures(run, size=picture_size("column"), only=("front_size",)).values()
    figure.savefig(tmp_path / "a.png", dpi=100)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (325, int(100 * figure.get_figheight()))
    assert figure.legends[0].get_window_extent(renderer_of(figure)).y0 >= 0


def test_panels_are_stacked_where_they_have_no_room_beside(run: RecordedRun) -> None:
    for size, beside in ((None, True), ("page", True), ("column", False), ("slide", True)):
        first, second = run_figures(run, size=picture_size(size), only=("front",))["front"].axes
        assert (first.get_position().y0 == pytest.approx(second.get_position().y0)) == beside
        assert first.get_ylim() == second.get_ylim()


def test_titles_name_no_file_and_no_run(run: RecordedRun, tmp_path: Path) -> None:
    evaluation = {
        **run.evaluation,
        "model": "local-dir:/home/me/secret",
        "data": "/home/me/photos/labels.csv",
    }
    elsewhere = dataclasses.replace(run, spec={**run.spec, "evaluation": evaluation})
    for shown in (run, elsewhere):
        for figure in run_figures(shown).values():
            written = " ".join(text.get_text() for text in figure.texts)
            assert not re.search(r"digits-1|secret|labels|home|photos", written)
    assert "Pareto front, digits_deit on digits" in [
        text.get_text() for text in run_figures(run, only=("front",))["front"].texts
    ]


def test_titles_are_those_asked_for() -> None:
    drawn = Heading("what is drawn", "how")
    assert drawn.asked(None, SCREEN) == drawn
    assert drawn.asked(None, picture_size("column")) == Heading()
    assert drawn.asked("mine", picture_size("column")) == Heading("mine")
    assert drawn.asked("", SCREEN) == Heading()


def test_lines_are_even_and_within_the_width() -> None:
    figure, text = new_figure(4, 4), "one two three four five six seven eight nine"
    lines = wrapped(figure, text, 8.0, 1.5).split("\n")
    assert " ".join(lines) == text
    widths = [text_width(figure, line, 8.0) for line in lines]
    assert max(widths) <= 1.5
    assert min(widths) > 0.6 * max(widths)
    assert wrapped(figure, "unbreakable" * 9, 8.0, 1.0) == "unbreakable" * 9


def test_pdf_embeds_truetype_and_nothing_is_dated(run: RecordedRun, tmp_path: Path) -> None:
    [figure] = run_figures(run, only=("hypervolume",)).values()
    written = write_figures({"a": figure}, Place(tmp_path, ("pdf", "svg", "png")))
    pdf, svg = written[0].read_bytes(), written[1].read_text()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    assert any(b"BT" in zlib.decompressobj().decompress(s) for s in streams if s.startswith(b"x"))
    assert "<dc:date>" not in svg
    assert "<text" not in svg


def test_the_same_run_gives_the_same_bytes_in_every_process(runs_dir: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from bitfront.search.runs.reader import RecordedRun\n"
        "from bitfront.search.reports.plots.picture import Place\n"
        "from bitfront.search.reports.plots.run_plots import run_figures, write_figures\n"
        "run = RecordedRun.read(Path(sys.argv[1]), 'digits-1')\n"
        "figures = run_figures(run, only=('front_size',))\n"
        "write_figures(figures, Place(Path(sys.argv[2]), ('png', 'svg', 'pdf')))"
    )
    for name in ("one", "other"):
        subprocess.run([sys.executable, "-c", program, runs_dir, tmp_path / name], check=True)
    for ending in ("png", "svg", "pdf"):
        file = f"front_size.{ending}"
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_settings_of_matplotlib_stay_as_they_were(run: RecordedRun, tmp_path: Path) -> None:
    from matplotlib import pyplot

    with mpl.rc_context({"font.family": "serif", "font.size": 21.0, "pdf.fonttype": 3}):
        before = dict(mpl.rcParams)
        [figure] = run_figures(run, size=picture_size("page"), only=("front_size",)).values()
        save_figure(figure, tmp_path / "a.pdf")
        assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []
