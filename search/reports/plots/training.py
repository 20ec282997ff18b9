"""The curves of a training: loss and the first metric of the task after each epoch."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.training.training import Training
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.layout import Heading, fit, inches, write_heading, write_legend
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.spaces.quantities import count_of

_WIDTH, _HEIGHT = 620.0, 190.0
_NAMES = ("training images, varied", "held-out images", "held-out images, averaged weights")
_PREFIXES = ("held_out_", "ema_held_out_")


def draw_curves(training: Training, size: PictureSize = SCREEN) -> Figure:
    """Draws the loss of training and held-out images, and the metric of held-out ones.

    Args:
        training: With a row for every epoch; there is one at least.
        size: Of the picture.
    """
    spec = training.spec.evaluation
    task = task_named(spec.task)
    loss, metric = task.metric(task.loss), task.metric(task.primary)
    shown = [prefix for prefix in _PREFIXES if f"{prefix}{metric.name}" in training.rows[0]]
    looks = style.series_named(_NAMES)
    with style.house_style(size):
        width = size.width or inches(_WIDTH)
        figure = style.new_figure(width, width)
        left, right = figure.subplots(1, 2)
        handles = [_line(left, training, "loss", looks[0])]
        for prefix, look in zip(shown, looks[1:], strict=False):
            handles.append(_line(left, training, f"{prefix}{loss.name}", look))
            _line(right, training, f"{prefix}{metric.name}", look)
        better = "larger" if metric.direction == "maximise" else "smaller"
        left.set(xlabel="epoch", ylabel="loss (nats, smaller is better)")
        right.set(xlabel="epoch", ylabel=f"{metric.heading} ({better} is better)")
        low, high = right.get_ylim()
        if metric.unit == "%" and high > 100.0:
            right.set_ylim(min(low, 99.0), 100.0 + 0.05 * (100.0 - min(low, 99.0)))
        bottom = write_legend(figure, handles, _NAMES[: len(handles)], handlelength=3.0)
        images = count_of(training.train_images, "image")
        watched = f"{count_of(training.steering_images, 'held-out image')} of the search split"
        heading = Heading(f"Training of {spec.model}", f"{images}; {watched}")
        top = write_heading(figure, heading.asked(None, size))
        fit(figure, [left, right], 1, inches(_HEIGHT), top, bottom)
        return figure


def _line(axes: Axes, training: Training, column: str, look: style.Series) -> Any:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    mark: Any = {"marker": look.marker, "markersize": style.points(4.0), "markeredgecolor": "white"}
    epochs, values = ([row[name] for row in training.rows] for name in ("epoch", column))
    (line,) = axes.plot(
        epochs, values, color=look.color, linestyle=look.dashes, linewidth=style.points(1.6), **mark
    )
    return line
