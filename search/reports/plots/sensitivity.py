"""Drawing sensitivities: every gene's divergence by encoder, and the estimates against the measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bitfront.evaluators.sensitivity.gene_scores import GeneScores
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.wording import narrowed_words
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.layout import Heading, fit, inches, write_heading, write_legend
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.search.reports.plots.rank_agreement import draw_rank_agreement
from bitfront.search.runs.files import read_json
from bitfront.search.runs.folder import GENE_SCORES
from bitfront.search.runs.reader import RecordedRun

# By kind of tensor: colours that differ in lightness too, and marker shapes.
_LOOKS = {
    "weights": (style.FRONT, "o"),
    "activations": (style.KNEE, "s"),
    "attention": (style.LIMIT, "^"),
    "all": (style.FRONT, "o"),
}
_MEASURED, _ESTIMATED, _SPECTRAL = "divergence", "gradient", "spectral"
# What is shown of a gene that changes nothing, as a share of the largest.
_LEAST_SHARE = 1e-5
_UNIT, _NATS = 1e3, "10\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE} nats"
Gene = Mapping[str, Any]
# Of a run's picture, in points: width on a screen, most of the height; the height as a share of the width.
_WIDTH, _HIGHEST, _ASPECT = 518.0, 235.0, 0.66


def draw_sensitivities(document: Mapping[str, Any], path: Path, title: str) -> Path:
    """Genes by encoder on the left; on the right, where both were found, estimates by measurements.

    Args:
        document: Of the sensitivities.
        path: Of the PNG.
        title: What was profiled.

    Returns:
        The path.
    """
    genes: Sequence[Gene] = document["genes"]
    columns = [column for column in (_MEASURED, _ESTIMATED) if column in genes[0]] or [_SPECTRAL]
    floor = _UNIT * _LEAST_SHARE * max(gene[column] for gene in genes for column in columns) or 1.0
    labels = _labels(document) if _SPECTRAL in genes[0] and len(columns) == 2 else {}
    widths = [1.7, *([1.0] if len(columns) == 2 else []), *([1.2] if labels else [])]
    with style.house_style():
        figure = style.new_figure({1: 7.6, 2: 12.4, 3: 17.6}[len(widths)], 4.3)
        panels = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
        _draw_by_encoder(panels[0], genes, columns, floor)
        if len(columns) == 2:
            _draw_agreement(panels[1], genes, floor)
        if labels:
            draw_rank_agreement(panels[2], document["rank_agreement"], labels)
        figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.9), w_pad=2.5)
        style.heading(panels[0], f"Sensitivities of {title}", _subtitle(document, columns))
        return style.save_figure(figure, path, trimmed=True)


def draw_gene_scores(genes: Sequence[Gene], heading: Heading, size: PictureSize = SCREEN) -> Figure:
    """What each gene alone is estimated to do at its narrowest, by encoder and kind of tensor.

    Args:
        genes: Each with ``gene`` (its name), ``encoder``, ``kind`` and ``gradient`` (nats per image).
        heading: What stands above.
        size: Of the picture.
    """
    values = [_UNIT * gene[_ESTIMATED] for gene in genes]
    # Stems begin on the axis, which is a little below the least gene that changes something.
    least = min((value for value in values if value > 0.0), default=1.0)
    floor = max(0.5 * least, _LEAST_SHARE * max(values))
    with style.house_style(size):
        width = size.width or inches(_WIDTH)
        figure = style.new_figure(width, width)
        axes = figure.add_subplot()
        for kind in dict.fromkeys(gene["kind"] for gene in genes):
            colour, marker = _LOOKS[kind]
            own = sorted((g for g in genes if g["kind"] == kind), key=lambda gene: gene["encoder"])
            places = [gene["encoder"] + _shift(gene, genes) for gene in own]
            heights = [_shown(gene, _ESTIMATED, floor) for gene in own]
            line: Any = {"color": colour, "linewidth": style.points(0.8), "alpha": 0.5, "zorder": 2}
            axes.vlines(places, floor, heights, **line)
            mark: Any = {
                "marker": marker,
                "edgecolors": style.INK,
                "linewidths": style.points(0.5),
                "zorder": 3,
            }
            axes.scatter(places, heights, clip_on=False, s=style.area(30.0), facecolors=colour, **mark)
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        axes.set(xlabel="encoder", ylabel=f"estimated KL divergence ({_NATS} per image)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, height = _legend(genes, [])[:], min(_ASPECT * width, inches(_HIGHEST))
        bottom = write_legend(figure, handles, [str(handle.get_label()) for handle in handles])
        fit(figure, [axes], 1, height, write_heading(figure, heading), bottom)
        return figure


def collect_gene_scores(run: RecordedRun) -> list[Gene]:
    """What a run estimated of each gene before it searched; empty where it did not."""
    if not (run.path / GENE_SCORES).exists():
        return []
    found = GeneScores.from_json(read_json(run.path / GENE_SCORES, dict))
    columns = {gene.name: gene for gene in run.genes}
    return [
        {
            "gene": name,
            "encoder": columns[name].encoder,
            "kind": columns[name].kind or "all",
            _ESTIMATED: float(scores[0]),
        }
        for name, scores in zip(found.names, found.additive, strict=True)
        if name in columns
    ]


def _labels(document: Mapping[str, Any]) -> dict[str, str]:
    """What the measures of genes are called, by their names."""
    task = task_named(document["task"])
    own = {_ESTIMATED: "gradient score", _SPECTRAL: "spectral S"}
    return {
        name: own.get(name) or task.metric(name).title.removesuffix(" to float")
        for name in document["genes"][0]["ranks"]
    }


def _subtitle(document: Mapping[str, Any], columns: Sequence[str]) -> str:
    text = f"each gene alone {narrowed_words(document['narrow'], document['wide'])}"
    correlations, distance = document["rank_correlations"], task_named(document["task"]).distance
    correlation = correlations.get(f"{distance}/{_ESTIMATED}")
    if len(columns) == 2 and correlation == correlation:
        text += f"; rank correlation of estimate and measurement {correlation:.2f}"
    return text


def _shown(gene: Gene, column: str, floor: float) -> float:
    return max(_UNIT * float(gene[column]), floor)


def _draw_by_encoder(axes: Axes, genes: Sequence[Gene], columns: Sequence[str], floor: float) -> None:
    for gene in genes:
        colour, marker = _LOOKS[gene["kind"]]
        ends = [_shown(gene, column, floor) for column in columns]
        place = gene["encoder"] + _shift(gene, genes)
        axes.plot([place] * len(ends), ends, color=colour, linewidth=0.9, alpha=0.6, zorder=2)
        for column, value in zip(columns, ends, strict=True):
            face = colour if column == columns[0] else "white"
            axes.scatter(place, value, s=30, marker=marker, zorder=3, edgecolors=colour, facecolors=face)
    axes.set_yscale("log")
    what = "spectral S (10\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE})"
    what = f"KL divergence ({_NATS} per image)" if columns != [_SPECTRAL] else what
    axes.set(xlabel="encoder", ylabel=what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(handles=_legend(genes, columns), loc="best", ncols=2)


def _shift(gene: Gene, genes: Sequence[Gene]) -> float:
    """Where a gene stands beside the others of its encoder, within 0.3 of the middle."""
    beside = [other["gene"] for other in genes if other["encoder"] == gene["encoder"]]
    return 0.6 * (beside.index(gene["gene"]) + 0.5) / len(beside) - 0.3 if len(beside) > 1 else 0.0


def _legend(genes: Sequence[Gene], columns: Sequence[str]) -> list[Line2D]:
    plain: Any = {"linestyle": "none", "markersize": 5.5}
    found = []
    for kind in dict.fromkeys(gene["kind"] for gene in genes):
        (colour, marker), label = _LOOKS[kind], "encoder" if kind == "all" else kind
        found.append(Line2D([], [], color=colour, marker=marker, label=label, **plain))
    names = {_MEASURED: "measured", _ESTIMATED: "estimated by gradients", _SPECTRAL: "of the weights"}
    for column in columns:
        face = style.INK if column == columns[0] else "white"
        look: Any = {"color": style.INK, "marker": "o", "markerfacecolor": face, **plain}
        found.append(Line2D([], [], label=names[column], **look))
    return found


def _draw_agreement(axes: Axes, genes: Sequence[Gene], floor: float) -> None:
    pairs = [(_shown(gene, _MEASURED, floor), _shown(gene, _ESTIMATED, floor)) for gene in genes]
    low, high = 0.6 * min(map(min, pairs)), 1.7 * max(map(max, pairs))
    axes.plot([low, high], [low, high], color=style.MUTED, linewidth=0.9, linestyle="--", zorder=1)
    for gene, (measured, estimated) in zip(genes, pairs, strict=True):
        colour, marker = _LOOKS[gene["kind"]]
        axes.scatter(measured, estimated, s=30, marker=marker, color=colour, edgecolors="white", zorder=3)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(xlabel=f"measured ({_NATS})", ylabel=f"estimated ({_NATS})")
    axes.set_aspect("equal", adjustable="box")
