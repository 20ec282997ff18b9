"""A run as Python sees it: its tables, figures and configurations, and what can be made of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import explained
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.export.export import chosen_point, refined_point
from bitfront.search.export.limited_front import narrowed
from bitfront.search.export.selection import KNEE, Choice, chosen_row, default_choice, shortlist_of
from bitfront.search.runs.listing import RunSummary, latest_run
from bitfront.search.runs.listing import list_runs as runs_in
from bitfront.search.runs.names import runs_root, together_folder
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.spaces import BitConfig, UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bitfront.search.export.verification import Verified
    from bitfront.search.runs.refinement import Refinement
    from bitfront.search.session.evaluate import Evaluation
    from bitfront.search.session.export import Exported

# The file of a report where no other is named.
REPORT = "report.html"


@dataclass(frozen=True, eq=False)
class Run(RecordedRun):
    """A run and what can be made of it.

    ``front`` and ``trials`` are tables of pandas, one row per point and per trial: metrics of the task, such
    as ``top1`` in percent (higher is better), ``latency_ms`` and ``size_bytes`` (lower is better), and a
    column of bits for every gene.
    A notebook shows the front.

    ``shortlist`` has those of its points that really differ, ``refined`` what :meth:`refine` made of points.

    A *choice* is ``knee`` (the cheapest point not shown to be worse than the best), an objective such as
    ``top1``, ``latency`` or ``size`` (the best in that), weights by objective such as ``{"top1": 2, "size":
    1}`` (the least weighted Chebyshev distance), or the number of a trial on the front. Among the points
    within limits: ``run.within(max_size="4MB").pick("top1")``, where ``nearest`` is the one nearest to them.

    Attributes:
        interrupted: Whether the search was stopped before its end; :func:`resume` goes on with it.
    """

    interrupted: bool = False

    @property
    def message(self) -> str:
        """Where the front is empty: which limits were missed, and what came nearest; empty otherwise."""
        return str(self.summary.get("message") or "")

    @property
    def knee(self) -> int | None:
        """The trial number of the starred point, the default choice; None where the front is empty."""
        star = default_choice(self)
        return star.trial if star else None

    @property
    def shortlist(self) -> pd.DataFrame:
        """The points of the front that really differ, and how many ``alike`` and ``near`` ones stand behind.

        A point that no test tells to be better than a listed one, and that is nowhere cheaper, is alike; a
        near one differs, and was left out to keep the list short.
        """
        listed = shortlist_of(self)
        rows = self.front[self.front["trial"].isin(listed)]
        points = [listed[int(trial)] for trial in rows["trial"]]
        return rows.assign(
            alike=[len(point.alike) for point in points], near=[len(point.near) for point in points]
        )

    def priced(
        self,
        latency: str,
        *,
        latency_batch: int | None = None,
        latency_threads: int | None = None,
        progress: Reporter | ProgressCallback | None = None,
    ) -> Run:
        """The run as it would stand by another latency source; nothing is evaluated.

        All trials are priced and judged again: front, shortlist, star, limits, hypervolume, figures,
        reports and exports are those of a search that had these latencies from the start and evaluated the
        same. ``prices.notes`` says what its reader must know.

        Args:
            latency: Such as ``table:phone.csv``, ``model:a100`` or ``measured:openvino``, which is measured
                on this machine once and kept in the run folder; ``run`` for the run as it is.
            latency_batch: Images of the batch that latencies are for; None for the table's, or 1.
            latency_threads: Threads of the inference that they are for; None for the table's, or 1.
            progress: As of :func:`bitfront.search.search`.

        Raises:
            UserError: The run has not ended or was narrowed before, or the source is unknown or for another
                model, scheme, batch or other threads.
        """
        from bitfront.search.session.prices import priced_by

        return priced_by(self, latency, latency_batch, latency_threads, reporter_of(progress))

    def within(
        self,
        *,
        max_latency: str | None = None,
        max_size: str | None = None,
        max_energy: str | None = None,
        min_top1: float | None = None,
        min_metric: str | Sequence[str] = (),
        max_metric: str | Sequence[str] = (),
        max_drop: float | str | Sequence[str] | None = None,
        confidence: float | None = None,
    ) -> Run:
        """The run with that part of its front which is within limits; shortlist and star follow.

        Args:
            max_latency: Such as ``12ms``, or ``0.9x`` of the float model's.
            max_size: Such as ``4MB``, or ``0.6x`` of the float model's.
            max_energy: Such as ``20mJ``, or ``0.6x`` of the float model's, where the search computed energy.
            min_top1: Lowest top-1 in percent.
            min_metric: Lowest values of metrics, such as ``macro_f1=70``.
            max_metric: Highest values of metrics of which smaller ones are better, such as ``loss=0.5``.
            max_drop: By how much metrics may be worse than the float model's: points of the task's first
                metric, or such as ``macro_f1=1``.
            confidence: Probability with which limits on the share of images decided right are to hold; None
                for that of the search.

        Raises:
            UserError: A limit cannot be read, or no point is within the limits: the nearest one is named.
        """
        asked = {
            "max_latency": max_latency,
            "max_size": max_size,
            "max_energy": max_energy,
            "min_top1": min_top1,
            "min_metric": min_metric,
            "max_metric": max_metric,
            "max_drop": max_drop,
            "confidence": confidence,
        }
        return narrowed(self, asked)

    def pick(self, choice: Choice = KNEE) -> pd.Series:
        """The row of the front that a choice stands for.

        Raises:
            UserError: The front is empty, or the choice is none of its points.
        """
        return chosen_row(self, choice)

    def config(self, choice: Choice = KNEE) -> BitConfig:
        """The bit configuration of a point of the front.

        Raises:
            UserError: There is no such point.
        """
        return chosen_point(self, choice).config

    def figures(
        self,
        everything: bool = False,
        *,
        size: str | float | None = None,
        title: str | None = None,
        only: Sequence[str] | None = None,
    ) -> dict[str, Figure]:
        """The pictures of the run, as ``bitfront plot`` writes them; no display is needed.

        Args:
            everything: Whether all points of the front are listed, not the shortlist alone.
            size: ``column``, ``page`` or ``slide``, a width in inches, or one such as ``88mm``; None as suits
                a screen. Texts have at least 8 points.
            title: What stands above; empty for nothing, None for what is drawn, or nothing above those of a
                column or a page.
            only: Names of those that are drawn; None for all.

        Returns:
            Matplotlib figures by name: ``front``, ``front_size``, ``front_latency``, ``bit_map`` and
            ``hypervolume``, without those for which nothing has been recorded. They belong to nobody: pyplot
            does not know them.

        Raises:
            UserError: There is no such size or picture.
        """
        from bitfront.search.reports.plots.picture import checked_pictures, picture_size
        from bitfront.search.reports.plots.run_plots import run_figures

        chosen = None if only is None else checked_pictures(only)
        return run_figures(self, everything, picture_size(size), title, chosen)

    def report(self, path: str | Path | None = None, *, images: int = 0) -> Path:
        """Writes an interactive report as one HTML file, as ``bitfront report`` does.

        Args:
            path: The file; None for ``report.html`` in the run folder.
            images: As of :func:`report`, and so the errors.
        """
        return report([self], path, images=images)

    def export(
        self,
        pick: Choice = KNEE,
        format: str = "json",  # noqa: A002 - as the option is called
        path: str | Path | None = None,
        **options: Any,
    ) -> Exported:
        """Writes a point of the front as a file or folder, and verifies what computes in its runtime.

        Args:
            pick: The point.
            format: ``json`` (the bit configuration), ``packed``, ``onnx``, ``openvino`` or that of another
                toolchain.
            path: The file, or for ``onnx`` and ``openvino`` a folder, which has no ending; None for one in
                ``exports`` of the run folder.
            options: ``runtime``, ``verify``, ``progress`` and others of
                :func:`bitfront.search.session.export.export_run`.

        Raises:
            UserError: There is no such point, or it cannot be written in that format or place.
            BitfrontError: Writing failed.
        """
        from bitfront.search.session.export import export_run

        return export_run(self, pick, format=format, path=path, **options)

    def verify(self, path: str | Path, **options: Any) -> Verified:
        """Compares an exported file with the evaluator; see :func:`bitfront.search.verify`."""
        from bitfront.search.session.verify import verify

        return verify(path, **options)

    def evaluate(self, choice: Choice = KNEE, *, refined: bool = False, **options: Any) -> Evaluation:
        """Measures a point of the front, or uniform widths such as ``W8A8T8``, on the test split.

        Args:
            choice: The point, or uniform widths.
            refined: Whether the point is taken as it was refined.
            options: ``latency``, ``latency_batch``, ``latency_threads`` and ``progress`` of
                :func:`bitfront.search.evaluate`; latencies are the run's unless another source is named.

        Raises:
            UserError: There is no such point, or the model or the data cannot be used.
        """
        from bitfront.search.session.evaluate import evaluate

        own: dict[str, Any] = {"latency": self.spec["latency"]}
        if self.prices is not None:
            own = {"latency": self.prices.asked, "latency_batch": self.prices.batch}
            own |= {"latency_threads": self.prices.threads} if self.prices.threads != 1 else {}
        options = {**own, **options}
        spec = EvaluationSpec.from_json(self.evaluation)
        if refined:
            chosen, file = refined_point(self, choice)
            return evaluate(spec.moved(refinement=file), chosen.config, **options)
        uniform = isinstance(choice, str) and choice[:1] == "W"
        return evaluate(spec, str(choice) if uniform else self.config(choice), **options)

    def refine(self, choice: Choice | None = None, **options: Any) -> Refinement:
        """Refines a point of the front by learning, without labels, and keeps what helped beside it.

        Open the run again to have it in tables and pictures; ``run.export(choice, refined=True)`` writes it.

        Args:
            choice: The point; None for the knee.
            options: ``images``, ``refine_data``, ``learning``, ``resume``, ``force``, ``progress`` and others
                of :func:`bitfront.search.session.refine.refine_run`.

        Raises:
            UserError: There is no such point, it is refined already or cannot be refined.
            BitfrontError: The learning failed.
        """
        from bitfront.search.session.refine import refine_run

        return refine_run(self, choice, **options)

    def _repr_html_(self) -> str:
        """The front as a table, for notebooks."""
        from bitfront.search.reports.front_table import front_html

        return front_html(self)


def open_run(name: str | None = None, *, runs_dir: str | Path | None = None) -> Run:
    """Opens a run as far as it has come.

    Args:
        name: Its name; None for the run that was changed last.
        runs_dir: The folder of the runs; None for ``runs``, or what the environment variable
            ``BITFRONT_RUNS`` says.

    Raises:
        UserError: There is no such run (the nearest names are offered), or a file of it is damaged.
    """
    root = runs_root(runs_dir)
    run = Run.read(root, name or latest_run(root))
    return dataclasses.replace(run, interrupted=run.summary.get("stopped_because") == INTERRUPTED)


def overlay(
    runs: Sequence[RecordedRun],
    *,
    labels: Sequence[str] | None = None,
    everything: bool = False,
    size: str | float | None = None,
    title: str | None = None,
    only: Sequence[str] | None = None,
) -> dict[str, Figure]:
    """Several runs in one picture: a front for each, and their hypervolumes, as ``bitfront plot A B``.

    Runs are told apart by colour, mark and dashes, also in greyscale. They may differ in scheme, recipe,
    widths, space, sampler and budget. One axis never mixes other images, float models, or latencies of other
    sources, batches or machines.

    Args:
        runs: From :func:`open_run`; at least two.
        labels: What each is called in the legend; None for what tells them apart, or their names.
        everything: As of :meth:`Run.figures`, and so the others.
        size: Of the pictures.
        title: What stands above.
        only: Names of the pictures that are drawn; those without latencies are ``front_size`` and
            ``hypervolume``.

    Returns:
        Matplotlib figures by name: ``front``, ``front_size``, ``front_latency``, and ``hypervolume`` where
        those of all runs have one reference and one ideal point.

    Raises:
        UserError: The runs cannot be compared, labels are not one for each run, or there is no such size or
            picture.
    """
    from bitfront.search.reports.plots.overlay import overlay_figures
    from bitfront.search.reports.plots.picture import checked_pictures, picture_size

    chosen = None if only is None else checked_pictures(only)
    return overlay_figures(runs, labels, everything, picture_size(size), title, chosen).figures


def report(runs: Sequence[RecordedRun], path: str | Path | None = None, *, images: int = 0) -> Path:
    """Writes an interactive report of one or several runs: one HTML file that needs no network.

    Args:
        runs: From :func:`open_run`; at least one.
        path: The file, which ends in ``.html``; None for ``report.html`` in the run folder, and of several
            runs in a folder beside them, as ``bitfront report A B``.
        images: How many images of each run, at most, are in the file, shown small where two pinned points
            disagree on them: those that the front disagrees about most.

    Returns:
        The path.

    Raises:
        UserError: No run is given, or one twice; one has no trials, or does not say which images are
            decided right and these are asked for; the place cannot be written; or the packages of the extra
            ``report`` are not installed.
        BitfrontError: Writing failed, or an image cannot be read.
    """
    from bitfront.search.reports.interactive.page import write_report

    if not runs:
        raise UserError("a report is of at least one run, and none was given: name one")
    if path is not None:
        return write_report(runs, Path(path), images)
    folders = list(dict.fromkeys(run.path for run in runs))
    folder = folders[0] if len(folders) == 1 else together_folder(folders)
    with explained(folder):
        folder.mkdir(exist_ok=True)
    labels = dict.fromkeys(f"-{run.prices.label}" for run in runs if run.prices)
    return write_report(runs, folder / f"{Path(REPORT).stem}{''.join(labels)}.html", images)


def save_figure(figure: Figure, path: str | Path, dpi: int | None = None) -> Path:
    """Writes a figure as PNG, SVG or PDF by the ending of the name, as ``bitfront plot`` does.

    PDF files embed their fonts as TrueType, SVG files have outlines in place of texts; the same figure gives
    the same bytes. A file is there whole, or not at all.

    Args:
        figure: Of :meth:`Run.figures` or :func:`overlay`.
        path: The file; its folder is made where that is missing.
        dpi: Pixels per inch of a PNG; None for 150.

    Returns:
        The path.

    Raises:
        UserError: The ending is another one, or the place cannot be written.
        BitfrontError: Writing failed.
    """
    from bitfront.search.reports.plots import style
    from bitfront.search.reports.plots.picture import SCREEN_DPI, checked_dpi, checked_formats

    path = Path(path)
    checked_formats([path.suffix.removeprefix(".")])
    return style.save_figure(figure, path, SCREEN_DPI if dpi is None else checked_dpi(dpi))


def list_runs(*, runs_dir: str | Path | None = None) -> list[RunSummary]:
    """A summary of every run in a folder, the one changed last first; damaged runs say so in their state."""
    return runs_in(runs_root(runs_dir))
