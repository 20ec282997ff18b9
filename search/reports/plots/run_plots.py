"""All pictures of a run, as figures or as files of its ``plots`` folder."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from bitfront.search.problem.wording import megabytes, milliseconds, points, quantization
from bitfront.search.reports.plots.bit_map import collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.front import draw_fronts
from bitfront.search.reports.plots.front_points import collect_front
from bitfront.search.reports.plots.hypervolume import collect_hypervolume, draw_hypervolume
from bitfront.search.reports.plots.style import latency_axis, save, size_axis
from bitfront.search.runs.reader import RecordedRun


def run_figures(run: RecordedRun) -> dict[str, Figure]:
    """Every picture that the run has data for, drawn without a display.

    Args:
        run: A finished or running run.

    Returns:
        Figures by name: ``front`` (against size and latency side by side), ``front_size``, ``front_latency``,
        ``bit_map`` and ``hypervolume``, without those for which nothing has been recorded.
    """
    found = _fronts(run)
    if len(run.front) and run.genes:
        info = collect_bit_map(run)
        hidden = f", {info.hidden} of the front left out" if info.hidden else ""
        subtitle = f"{points(len(info.rows))} of the front, largest on top{hidden}"
        found["bit_map"] = draw_bit_map(info, f"Chosen bits, {_title(run)}", subtitle)
    history = collect_hypervolume(run)
    if len(history.evaluations):
        title = f"Hypervolume, {_title(run)}"
        found["hypervolume"] = draw_hypervolume(history, title, _reference_point(run))
    return found


def write_plots(run: RecordedRun, folder: Path | None = None) -> list[Path]:
    """Draws every picture that the run has data for and writes them as PNG.

    Args:
        run: A finished or running run.
        folder: Where to write; the run's ``plots`` folder by default.

    Returns:
        The files written, named after the figures of :func:`run_figures`.

    Raises:
        BitfrontError: The folder cannot be written.
    """
    folder = folder or run.path / "plots"
    return [save(figure, folder / f"{name}.png") for name, figure in run_figures(run).items()]


def _fronts(run: RecordedRun) -> dict[str, Figure]:
    infos = {
        "front_size": collect_front(run, size_axis()),
        "front_latency": collect_front(run, latency_axis(run.latency_source, run.latency_batch)),
    }
    drawn = {name: [info] for name, info in infos.items() if not info.empty}
    both = {"front": [info for (info,) in drawn.values()]} if drawn else {}
    title, subtitle = f"Pareto front, {_title(run)}", _subtitle(run)
    return {name: draw_fronts(shown, title, subtitle) for name, shown in {**both, **drawn}.items()}


def _title(run: RecordedRun) -> str:
    parts = [str(run.evaluation.get("model", "")), "on", Path(str(run.evaluation.get("data", ""))).name]
    return " ".join(parts) if all(parts) else run.name


def _subtitle(run: RecordedRun) -> str:
    parts = [
        f"run {run.name}",
        quantization(run.evaluation),
        f"{points(len(run.front))} from {len(run.trials)} trials",
        f"seed {run.spec['seed']}" if "seed" in run.spec else "",
    ]
    return "  \N{MIDDLE DOT}  ".join(part for part in parts if part)


def _reference_point(run: RecordedRun) -> str:
    point = run.summary.get("reference_point") or {}
    words = [_in_words(name, value) for name, value in point.items() if isinstance(value, int | float)]
    return f"reference point: {', '.join(words)}" if words else f"run {run.name}"


def _in_words(column: str, value: float) -> str:
    if column == "top1":
        return f"top-1 {value:.3g} %"
    if column == "size_bytes":
        return f"{megabytes(value)} MB"
    return f"{milliseconds(value)} ms" if column == "latency_ms" else f"{column} {value:.4g}"
