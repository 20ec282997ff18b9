"""The report as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import check_writable, write_atomically
from bitfront.search.reports.interactive.charts import chart_specs
from bitfront.search.reports.interactive.document import run_document
from bitfront.search.reports.plots.comparable import check_comparable, same_box
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

# Python packages that charts need, by the extra that brings them.
EXTRA, NEEDED = "report", ("altair", "vl_convert")
# In the order in which a browser reads them.
_SCRIPTS = ("choice.js", "state.js", "charts.js", "panels.js", "main.js")
_ENDINGS = (".html", ".htm")


def write_report(runs: Sequence[RecordedRun], path: Path, images: int = 0) -> Path:
    """Writes the report of one or several runs; a file is there whole, or not at all.

    Args:
        runs: At least one.
        path: The file, which ends in ``.html``.
        images: How many images of each run, at most, are shown small where pinned points disagree on them.

    Raises:
        UserError: A run is named twice or has no trials, the name does not end in ``.html``, the place cannot
            be written, images are asked for and cannot be had, or the packages that draw charts are not
            installed.
        BitfrontError: Writing failed, or an image cannot be read.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"cannot write {path}: a report is one HTML file; give a name that ends in .html")
    check_writable(path)
    write_atomically(path, report_page(runs, images))
    return path


def report_page(runs: Sequence[RecordedRun], images: int = 0) -> str:
    """The HTML of the report; arguments and errors are those of :func:`write_report`."""
    _check(runs)
    title = f"bitfront: {', '.join(run.title for run in runs)}"
    report = {
        "runs": [{**run_document(run).to_json(), **_pictures(run, images)} for run in runs],
        "specs": chart_specs(),
        **_together(runs),
    }
    parts = {
        "VERSION": escape(version("bitfront")),
        "TITLE": escape(title),
        "STYLE": _asset("style.css"),
        "DATA": json_in_html(report),
        "LIBRARY": script_in_html(library()),
        "SCRIPT": script_in_html("\n".join(map(_asset, _SCRIPTS))),
    }
    # In one pass: what a part holds is never taken for another one's place.
    head, *pieces = _asset("page.html").split("@")
    return head + "".join(
        parts[piece] if piece in parts else f"@{piece}" if place % 2 == 0 else piece
        for place, piece in enumerate(pieces)
    )


def _check(runs: Sequence[RecordedRun]) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"a report needs {' and '.join(missing).replace('_', '-')}: pip install 'bitfront[{EXTRA}]'"
        )
    places = [(run.path.resolve(), run.title) for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"run {run.title} is named twice: name each run once")
        if not len(run.trials):
            raise UserError(f"run {run.name} has no evaluated trials to show yet: wait for the first")


def _pictures(run: RecordedRun, images: int) -> dict[str, Any]:
    if not images:
        return {"thumbnails": None}
    from bitfront.search.reports.interactive.thumbnails import thumbnails  # loads torch

    split, found = thumbnails(run, images)
    return {"thumbnails": {"split": split, "images": [asdict(one) for one in found]}}


def _together(runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """Whether fronts of the runs may stand on one axis, and if not, why."""
    if len(runs) < 2:
        return {"comparable": False, "comparable_latency": False, "different": "", "same_box": False}
    whole, timed = (_difference(runs, latency) for latency in (False, True))
    latencies = f"other runs are not drawn against latencies: {timed}" if timed else ""
    return {
        "comparable": not whole,
        "comparable_latency": not timed,
        "different": f"other runs are not drawn together with this one: {whole}" if whole else latencies,
        "same_box": same_box(runs),
    }


def _difference(runs: Sequence[RecordedRun], latency: bool) -> str:
    try:
        check_comparable(runs, latency)
    except UserError as error:
        return str(error)
    return ""


def json_in_html(document: Any) -> str:
    """JSON for a ``script`` element, which no text in it can end: ``<``, ``>`` and ``&`` are escaped."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)  # ASCII: other letters are escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def script_in_html(script: str) -> str:
    """JavaScript for a ``script`` element: what would end it, in a text of it, is written otherwise."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@functools.cache
def library() -> str:
    """The scripts of Vega, Vega-Lite and vega-embed, which define ``vegaEmbed``."""
    import vl_convert

    # Their names would be the page's own otherwise, and bundled ones are short.
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"(() => {{{bundle}\n}})();"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
