"""Three objectives at once: latency against size, and the quality of each point as its colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bitfront.search.export.selection import default_choice
from bitfront.search.problem.objectives import ESTIMATE
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import heights
from bitfront.search.reports.plots.layout import Heading, fit, inches, write_heading, write_legend
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.search.reports.plots.style import Axis
from bitfront.search.runs.reader import RecordedRun

# Width on a screen and the most of the height, in points; the height as a share of the width.
_WIDTH, _HIGHEST, _ASPECT = 518.0, 260.0, 0.72
# Lightness rises all the way, also for colour-blind readers and in grey (Nunez et al., PLoS ONE 13(7), 2018);
# the lightest part would not be told from the paper.
_COLOURS, _LIGHTEST = "cividis", 0.92


def draw_costs(
    run: RecordedRun, size_axis: Axis, latency_axis: Axis, heading: Heading, size: PictureSize = SCREEN
) -> Figure:
    """The front of a run in its two costs; darker points are worse, and the knee is a star.

    Marks are larger for better points, too, so that the order reads in any print.

    Args:
        run: The run; its front is not empty.
        size_axis: What is drawn across.
        latency_axis: What is drawn upwards; lower is better.
        heading: What stands above.
        size: Of the picture.
    """
    import matplotlib as mpl

    rows = run.front.dropna(subset=[size_axis.column, latency_axis.column, run.quality.name])
    values = heights(rows, run.quality)
    order = np.argsort(values)
    across, up = (rows[axis.column].to_numpy(float) * axis.scale for axis in (size_axis, latency_axis))
    span = max(float(values.max() - values.min()), 1e-9)
    areas = 16.0 + 34.0 * (values - values.min()) / span
    star = default_choice(run)
    colours = mpl.colors.LinearSegmentedColormap.from_list(
        "quality", mpl.colormaps[_COLOURS](np.linspace(0.0, _LIGHTEST, 256))
    )
    with style.house_style(size):
        width = size.width or inches(_WIDTH)
        figure = style.new_figure(width, width)
        axes = figure.add_subplot()
        marks: Any = {"cmap": colours, "edgecolors": style.INK, "linewidths": style.points(0.5), "zorder": 3}
        found = axes.scatter(
            across[order],
            up[order],
            s=[style.area(area) for area in areas[order]],
            c=run.quality.sign * values[order],
            **marks,
        )
        if run.quality.sign < 0:
            found.set_cmap(colours.reversed())
        knee = rows["trial"].to_numpy() == (star.trial if star else -1)
        # Around the point of the knee, whose colour and neighbours it leaves to be seen.
        how: Any = {"marker": "*", "c": style.KNEE, "edgecolors": style.INK, "lw": style.points(0.8)}
        handle = axes.scatter(across[knee], up[knee], s=style.area(330.0), zorder=2, **how)
        axes.set(
            xlabel=f"{size_axis.label}, smaller is better", ylabel=f"{latency_axis.label}, lower is better"
        )
        axes.margins(0.07)
        bar = figure.colorbar(found, ax=axes, pad=0.02, fraction=0.06)
        unit = f" ({run.quality.unit})" if run.quality.unit else ""
        estimated = "estimated " * (f"{run.quality.name}{ESTIMATE}" in run.front.columns)
        bar.set_label(f"{estimated}{run.quality.title}{unit}", fontsize=style.text(9.5))
        bar.outline.set_visible(False)
        height = min(_ASPECT * width, inches(_HIGHEST))
        bottom = write_legend(figure, [handle], [f"knee: trial {star.trial}"] if star else [])
        fit(figure, [axes], 1, height, write_heading(figure, heading), bottom)
        return figure
