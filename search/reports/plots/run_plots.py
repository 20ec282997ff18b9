"""All pictures of a run, written into its ``plots`` folder."""

from __future__ import annotations

from pathlib import Path

from bitfront.search.reports.plots.bit_map import collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.front import draw_fronts
from bitfront.search.reports.plots.front_points import FrontInfo, collect_front, has_points
from bitfront.search.reports.plots.hypervolume import collect_hypervolume, draw_hypervolume
from bitfront.search.reports.plots.style import latency_axis, size_axis
from bitfront.search.runs.reader import Run
from bitfront.search.wording import megabytes, milliseconds, points, quantization


def write_plots(run: Run, folder: Path | None = None) -> list[Path]:
    """Draws every picture that the run has data for.

    Args:
        run: A finished or running run.
        folder: Where to write; the run's ``plots`` folder by default.

    Returns:
        The PNG files written: ``front.png``, ``front_size.png``, ``front_latency.png``, ``bit_map.png`` and
        ``hypervolume.png``, without those for which nothing has been recorded.

    Raises:
        BitfrontError: The folder cannot be written.
    """
    folder = folder or run.path / "plots"
    written = _write_fronts(run, folder)
    if len(run.front) and run.genes:
        info = collect_bit_map(run)
        hidden = f", {info.hidden} of the front left out" if info.hidden else ""
        subtitle = f"{points(len(info.rows))} of the front, largest on top{hidden}"
        written.append(draw_bit_map(info, folder / "bit_map.png", f"Chosen bits, {_title(run)}", subtitle))
    history = collect_hypervolume(run)
    if len(history.evaluations):
        title = f"Hypervolume, {_title(run)}"
        written.append(draw_hypervolume(history, folder / "hypervolume.png", title, _reference_point(run)))
    return written


def _write_fronts(run: Run, folder: Path) -> list[Path]:
    infos: dict[str, FrontInfo] = {
        "front_size.png": collect_front(run, size_axis()),
        "front_latency.png": collect_front(run, latency_axis(run.latency_source, run.latency_batch)),
    }
    drawn = {name: info for name, info in infos.items() if has_points(info)}
    title, subtitle = f"Pareto front, {_title(run)}", _subtitle(run)
    written = [draw_fronts([info], folder / name, title, subtitle) for name, info in drawn.items()]
    if drawn:
        written.insert(0, draw_fronts(list(drawn.values()), folder / "front.png", title, subtitle))
    return written


def _title(run: Run) -> str:
    parts = [str(run.evaluation.get("model", "")), "on", Path(str(run.evaluation.get("data", ""))).name]
    return " ".join(parts) if all(parts) else run.name


def _subtitle(run: Run) -> str:
    trials = len(run.trials)
    parts = [
        f"run {run.name}",
        quantization(run.evaluation),
        f"{points(len(run.front))} from {trials} trials",
        f"seed {run.spec['seed']}" if "seed" in run.spec else "",
    ]
    return "  \N{MIDDLE DOT}  ".join(part for part in parts if part)


def _reference_point(run: Run) -> str:
    point = run.summary.get("reference_point") or {}
    words = [_in_words(name, value) for name, value in point.items() if isinstance(value, int | float)]
    return f"reference point: {', '.join(words)}" if words else f"run {run.name}"


def _in_words(column: str, value: float) -> str:
    if column == "top1":
        return f"top-1 {value:.3g} %"
    if column == "size_bytes":
        return f"{megabytes(value)} MB"
    return f"{milliseconds(value)} ms" if column == "latency_ms" else f"{column} {value:.4g}"
