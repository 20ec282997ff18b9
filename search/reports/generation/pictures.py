"""Pictures of a run over formats: the front with its intervals, and a contact sheet with difference maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bitfront.evaluators.tasks.generation.task import MOST_PSNR
from bitfront.search.problem.wording import megabytes
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.picture import SCREEN, SCREEN_DPI, PictureSize
from bitfront.search.runs.generation import GenerationRun
from bitfront.spaces import UserError
from bitfront.spaces.part_formats import FLOAT

FRONT, SHEET = "front", "contact_sheet"
PICTURES = (FRONT, SHEET)
# Inches of a picture in a contact sheet, and of the words beside its row.
_CELL, _WORDS = 0.72, 2.3
# Points of a contact sheet: one format everywhere first.
_MOST_ROWS = 9


def generation_figures(
    run: GenerationRun, only: Sequence[str] | None = None, size: PictureSize = SCREEN
) -> dict[str, Figure]:
    """The pictures by name.

    Args:
        run: That has ended, for a contact sheet.
        only: Names of those that are drawn; None for all that can be.
        size: Of the front.

    Raises:
        UserError: There is no such picture, or the run has nothing for it.
    """
    unknown = [name for name in only or () if name not in PICTURES]
    if unknown:
        raise UserError(
            f"unknown picture {unknown[0]!r} of a run of generation: choose among {', '.join(PICTURES)}"
        )
    if run.evaluated.empty:
        raise UserError(f"run {run.name} has no evaluated trials to draw yet: wait for the first")
    wanted = only or ((FRONT, SHEET) if run.points else (FRONT,))
    draw: dict[str, Any] = {FRONT: lambda: draw_front(run, size), SHEET: lambda: draw_sheet(run)}
    return {name: draw[name]() for name in wanted}


def write_generation_plots(run: GenerationRun) -> list[Path]:
    """Writes all pictures as PNG into ``plots`` of the run folder."""
    figures = generation_figures(run)
    folder = run.path / "plots"
    return [style.save_figure(figure, folder / f"{name}.png", SCREEN_DPI) for name, figure in figures.items()]


def draw_front(run: GenerationRun, size: PictureSize = SCREEN) -> Figure:
    """PSNR against size and time: evaluated points, the front with intervals, one format everywhere."""
    rows = run.evaluated[run.evaluated["psnr"] < MOST_PSNR]
    front = rows[rows["trial"].isin(run.front["trial"])]
    uniform = {name: trial for name in run.costs.formats if (trial := run.uniform(name)) is not None}
    with style.house_style(size):
        figure = style.new_figure(size.width or 9.0, 4.2)
        axes = figure.subplots(1, 2, sharey=True)
        size_label = "size of all parts (MB = 10\N{SUPERSCRIPT SIX} bytes)"
        time_label = "time of a picture (ms, measured:openvino, by parts)"
        shown = ((axes[0], "size_bytes", 1e-6, size_label), (axes[1], "latency_ms", 1.0, time_label))
        for axis, column, scale, label in shown:
            axis.plot(
                rows[column] * scale, rows["psnr"], "o", ms=3.5, color=style.DOMINATED, label="evaluated"
            )
            for row in front.to_dict("records"):
                found = run.interval(int(row["trial"]))
                errors = [[max(0.0, found.mean - found.low)], [max(0.0, found.high - found.mean)]]
                axis.errorbar(
                    row[column] * scale, found.mean, errors, fmt="none", ecolor=style.BEHIND, elinewidth=0.9
                )
            axis.plot(
                front[column] * scale,
                front["psnr"],
                "o",
                ms=5.0,
                color=style.FRONT,
                mec="white",
                label="front, 95 %",
            )
            for name, trial in uniform.items():
                point = run.row(trial)
                if point["psnr"] >= MOST_PSNR:
                    continue
                place = (float(point[column]) * scale, float(point["psnr"]))
                axis.plot(*place, "s", ms=6.0, mfc="none", mec=style.KNEE, mew=1.6)
                low, high = axis.get_xlim()
                # Of points at the right, names stand on the left, within the picture.
                side, begins = (-6, "right") if place[0] > low + 0.8 * (high - low) else (6, "left")
                axis.annotate(
                    name, place, (side, -3), textcoords="offset points", ha=begins, path_effects=style.halo()
                )
            axis.set_xlabel(label)
        axes[0].plot([], [], "s", ms=6.0, mfc="none", mec=style.KNEE, mew=1.6, label="one format everywhere")
        axes[0].set_ylabel("PSNR against float pictures (dB, larger is better)")
        axes[0].legend(loc="lower right")
        style.heading(axes[0], f"Front of {run.summary.get('pipeline')}", _subtitle(run))
        figure.subplots_adjust(left=0.08, right=0.98, top=0.85, bottom=0.13, wspace=0.08)
        return figure


def draw_sheet(run: GenerationRun) -> Figure:
    """Formats in rows, pictures in columns; below every row what differs from float, enlarged as it says."""
    arrays = run.sheet()
    labels = [str(label) for label in arrays.pop("labels")]
    float_pictures = arrays[FLOAT].astype(np.float32) / 255.0
    others = [(key, found.astype(np.float32) / 255.0) for key, found in arrays.items() if key != FLOAT]
    others = [(key, found) for key, found in others if run.config(int(key)).label != FLOAT][:_MOST_ROWS]
    rows = 1 + 2 * len(others)
    with style.house_style(SCREEN):
        figure = style.new_figure(_WORDS + _CELL * len(labels) + 0.1, 0.75 + _CELL * rows)
        grid = figure.subplots(rows, len(labels), squeeze=False)
        _row(grid[0], float_pictures, "float\nfp32")
        for place, (key, found) in enumerate(others):
            difference = np.abs(found - float_pictures)
            gain = _gain(float(np.quantile(difference, 0.995)))
            _row(grid[1 + 2 * place], found, _words(run, int(key)))
            _row(
                grid[2 + 2 * place],
                np.clip(difference * gain, 0.0, 1.0),
                f"difference \N{MULTIPLICATION SIGN} {gain:g}",
            )
        for axis, label in zip(grid[0], labels, strict=True):
            axis.set_title(label, fontsize=8, pad=3)
        width, height = figure.get_size_inches()
        figure.subplots_adjust(
            left=_WORDS / width, right=1.0 - 0.05 / width, top=1.0 - 0.6 / height, bottom=0.08 / height,
            wspace=0.04, hspace=0.04,
        )  # fmt: skip
        return figure


def _row(axes: Any, pictures: np.ndarray[Any, Any], words: str) -> None:
    for axis, picture in zip(axes, pictures, strict=True):
        shown = picture[0] if picture.shape[0] == 1 else np.moveaxis(picture, 0, -1)
        axis.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axis.set_axis_off()
    axes[0].text(-0.12, 0.5, words, transform=axes[0].transAxes, ha="right", va="center", fontsize=8)


def _words(run: GenerationRun, trial: int) -> str:
    label, size = run.config(trial).label, float(run.row(trial)["size_bytes"])
    shown = label if len(label) < 30 else "\n+ ".join(label.split(" + "))
    return f"{shown}\n{run.interval(trial).mean:.1f} dB, {megabytes(size)} MB"


def _gain(largest: float) -> float:
    """A round factor that makes nearly all differences visible and none white that is small."""
    return (
        1.0
        if largest <= 0 or not math.isfinite(largest)
        else float(max(1, min(64, 2 ** math.floor(math.log2(1.0 / largest)))))
    )


def _subtitle(run: GenerationRun) -> str:
    pictures, points = run.summary.get("search_pictures"), len(run.front)
    return f"{pictures} pictures at equal seeds; {len(run.evaluated)} assignments, {points} on the front"
