"""``bitfront plot``: the pictures of a run, or of several together."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import add_runs_dir, option, positive, priced_runs
from bitfront.search.cli.options.generation import generation_run
from bitfront.search.cli.options.groups import add_price_options, price_words
from bitfront.search.reports.console import hint, print_json, stderr_console, stdout_console
from bitfront.search.reports.plots.picture import (
    BY_SOURCE,
    FORMATS,
    PICTURES,
    PRINT_DPI,
    SCREEN_DPI,
    SIZES,
    USUAL_PICTURES,
    PictureSize,
    Place,
    checked_dpi,
    checked_pictures,
    picture_size,
)
from bitfront.search.runs.names import run_command, together_folder

if TYPE_CHECKING:
    from bitfront.search.runs.generation import GenerationRun
    from bitfront.search.session.run import Run

SUMMARY = "draw the pictures of a run, or of several together"
DETAIL = """\
Draws the pictures of a run: the front against size and latency, the bit map (which encoder keeps how many
bits along the front) and the hypervolume history. Points of the front that really differ are named. Where
they are named by --only, also the front in both costs with the quality as colour (front_costs), the
hypervolume over time (hypervolume_time), and how much each gene alone is estimated to change the outputs
(sensitivities). With several sources of latencies also all of their fronts in one picture
(front_by_source). Several runs are drawn together, one front for each, where their images, float model and
source of latencies are the same. For a paper: --format pdf --size column.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    several = "names of runs, which are drawn together (default: the latest run alone)"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=several)
    add_runs_dir(parser)
    option(parser, "--all", "list every point of the front")
    only = f"pictures to draw, some of {', '.join(PICTURES)} (default: the first {len(USUAL_PICTURES)})"
    option(parser, "--only LIST", only, _names)
    place = (
        "folder for the pictures, or a file such as front.pdf for one of them (default: plots in the run "
        "folder; for several runs RUN+RUN in the folder of runs)"
    )
    option(parser, "--output PATH", place, Path)
    add_price_options(
        parser, "; may be given again for one run, drawn by each in a folder of its own, and by all together"
    )
    group = parser.add_argument_group("looks")
    option(group, "--format LIST", f"some of {', '.join(FORMATS)} (default: png)", _names)
    widths = ", ".join(f"{name} ({size.width:g} in)" for name, size in SIZES.items())
    size = f"width: {widths}, or such as 5in or 88mm (default: as suits a screen)"
    option(group, "--size WIDTH", size)
    dpi = f"pixels per inch of PNG files (default: {SCREEN_DPI}, for print sizes {PRINT_DPI})"
    option(group, "--dpi N", dpi, positive)
    title = "what stands above (default: what is drawn; nothing above those of --size column and page)"
    either = group.add_mutually_exclusive_group()
    option(either, "--title TEXT", title)
    option(either, "--no-title", "no heading")
    labels = "what each of several runs is called (default: what tells them apart, or their names)"
    option(group, "--labels LIST", labels, _names)


def _names(text: str) -> list[str]:
    """The entries of a list with commas."""
    return text.split(",")


def run(args: argparse.Namespace) -> int:
    """Draws the pictures and prints their paths."""
    from bitfront.search.session.run import open_run
    from bitfront.spaces.errors import UserError

    if len(args.runs) < 2:
        of_formats = generation_run(args, args.runs[0] if args.runs else None)
        if of_formats is not None:
            return _formats(args, of_formats)
    runs = [open_run(name, runs_dir=args.runs_dir) for name in args.runs or [None]]
    if args.labels is not None and len(runs) == 1:
        raise UserError("--labels tells several runs apart, and one is drawn: name more, or leave it out")
    by_source = [priced_runs(args, one) for one in runs]
    sources = len(by_source[0])
    if sources > 1 and len(runs) > 1:
        raise UserError("several runs are drawn by one source: give --latency once, or name one run")
    if sources == 1 and BY_SOURCE in (args.only or ()):
        raise UserError(f"{BY_SOURCE} shows a run by several sources: give --latency at least twice")
    # One run by each source on its own, or several runs together.
    pictures = [_draw(args, list(drawn), sources > 1) for drawn in zip(*by_source, strict=True)]
    if sources > 1:
        pictures.append((_draw_together(args, by_source[0]), ()))
    paths = [path for drawn, _ in pictures for path in drawn]
    notes = [note for _, found in pictures for note in found]
    if args.json:
        named = {"run": runs[0].name} if len(runs) == 1 else {"runs": [each.name for each in runs]}
        print_json({**named, "plots": paths, "notes": notes})
        return 0
    for note in notes:
        stderr_console().print(f"note: {note}", soft_wrap=True)
    for path in paths:
        stdout_console().print(str(path), soft_wrap=True)
    if len(runs) == 1:
        words = price_words(args) if sources == 1 else []
        hint(run_command(runs[0].path, "export", runs[0].name, *words, "--pick", "knee"))
    return 0


def _formats(args: argparse.Namespace, run: GenerationRun) -> int:
    """Draws the front and the contact sheet of a run over formats."""
    from bitfront.search.reports.generation.pictures import generation_figures
    from bitfront.search.reports.plots.run_plots import write_figures
    from bitfront.spaces.errors import UserError

    foreign = sorted(args.given - {"runs", "runs_dir", "only", "output", "format", "size", "dpi"})
    if foreign:
        raise UserError(f"--{foreign[0].replace('_', '-')} is not for runs of task generation: leave it out")
    size = picture_size(args.size)
    place = Place.of(args.output, run.path / "plots", args.format, args.only)
    figures = generation_figures(run, args.only or ([place.single] if place.single else None), size)
    paths = write_figures(figures, place, _resolution(args, size))
    if args.json:
        print_json({"run": run.name, "plots": paths, "notes": []})
        return 0
    for path in paths:
        stdout_console().print(str(path), soft_wrap=True)
    return 0


def _draw(args: argparse.Namespace, runs: Sequence[Run], apart: bool) -> tuple[Sequence[Path], Sequence[str]]:
    """Draws one run, or several together; ``apart`` where other sources have pictures of the same names."""
    from bitfront.search.reports.plots.overlay import overlay_figures
    from bitfront.search.reports.plots.run_plots import run_figures, write_figures
    from bitfront.spaces.errors import UserError

    size = picture_size(args.size)
    dpi = _resolution(args, size)
    only = None if args.only is None else checked_pictures(args.only)
    place = Place.of(args.output, _folder(runs), args.format, only)
    prices = runs[0].prices
    if apart and (place.single or only is not None):
        only = tuple(name for name in only or () if name != BY_SOURCE)
        if not only:
            return (), prices.notes if prices else ()
        if place.single:
            raise UserError(
                f"{args.output} is one file, and each source has its own {only[0]}: name a folder, or draw "
                f"--only {BY_SOURCE}"
            )
    if prices and apart and args.output is not None:
        place = dataclasses.replace(place, path=_beside(place.path, prices.label))
    wanted = only or ((place.single,) if place.single else None)
    title = "" if args.no_title else args.title
    if len(runs) == 1:
        figures, notes = run_figures(runs[0], args.all, size, title, wanted), tuple[str, ...]()
    else:
        figures, notes = overlay_figures(runs, args.labels, args.all, size, title, wanted)
    if not figures:
        who, have = _who(runs)
        what = (
            "evaluated trials to draw yet: wait for the first" if only is None else f"{', '.join(only)} yet"
        )
        raise UserError(f"{who} {have} no {what}")
    told = prices.notes if prices else ()
    return write_figures(figures, place, dpi), (*told, *notes)


def _draw_together(args: argparse.Namespace, runs: Sequence[Run]) -> Sequence[Path]:
    """Draws the fronts of one run by several sources in one picture, where it is among those asked for."""
    from bitfront.search.reports.plots.run_plots import figure_by_source, write_figures

    only = None if args.only is None else checked_pictures(args.only)
    if only is not None and BY_SOURCE not in only:
        return ()
    size = picture_size(args.size)
    place = Place.of(args.output, runs[0].path / "plots", args.format, (BY_SOURCE,))
    figure = figure_by_source(runs, args.all, size, "" if args.no_title else args.title)
    dpi = _resolution(args, size)
    return write_figures({BY_SOURCE: figure}, place, dpi) if figure is not None else ()


def _folder(runs: Sequence[Run]) -> Path:
    """Where pictures go where no place is named: those by other prices beside the run's own."""
    folder = runs[0].path / "plots" if len(runs) == 1 else together_folder([run.path for run in runs])
    prices = runs[0].prices
    return folder if prices is None else _beside(folder, prices.label)


def _resolution(args: argparse.Namespace, size: PictureSize) -> int:
    """Pixels per inch: what was asked for, or those of pictures of a size."""
    return size.dpi if args.dpi is None else checked_dpi(args.dpi)


def _beside(folder: Path, label: str) -> Path:
    """The folder of pictures by other prices, which have the same names."""
    return folder.with_name(f"{folder.name}-{label}")


def _who(runs: Sequence[Run]) -> tuple[str, str]:
    names = ", ".join(run.name for run in runs)
    return (f"run {names}", "has") if len(runs) == 1 else (f"runs {names}", "have")
