"""The file of a report: names are text whatever they hold, nothing is loaded, images are shown small."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitfront.evaluators.files import csv_text
from bitfront.evaluators.tasks.quality import packed
from bitfront.search import Run, open_run
from bitfront.search.reports.interactive.page import json_in_html, report_page, script_in_html
from bitfront.search.reports.interactive.thumbnails import thumbnails
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.right_images import COLUMNS
from bitfront.spaces import UserError

HOSTILE = "</script><script>alert(1)</script><!--<script>&amp;\u2028'\""


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> RecordedRun:
    """A run whose model, data and reason of failure are hostile; its name is that of a moved folder."""
    root = tmp_path_factory.mktemp("runs")
    folder = make_run(root, count=60, model=HOSTILE, checkpoint=HOSTILE, recipe=HOSTILE)
    text = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(text.replace("saturates", "</script><script>alert(2)</script>"))
    return RecordedRun.read(root, "digits-1")


def test_hostile_names_are_text(hostile: RecordedRun) -> None:
    import dataclasses

    page = report_page([dataclasses.replace(hostile, name=HOSTILE)])
    elements = Elements(page)
    assert [tag for tag, _ in elements.found].count("script") == 3
    data = json.loads(elements.scripts[0])
    assert data["runs"][0]["name"] == HOSTILE
    assert dict(data["runs"][0]["facts"])["quantization"].startswith(f"fq-vit, recipe {HOSTILE}")
    assert any("<script>alert(2)" in reason for reason in data["runs"][0]["reason"])
    assert "alert" not in "".join(elements.scripts[1:])
    assert "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page.partition("</title>")[0]


def test_nothing_is_loaded(hostile: RecordedRun) -> None:
    page = report_page([hostile])
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset", "action"} & attributes.keys(), (tag, attributes)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_json_and_scripts_cannot_end_their_elements() -> None:
    text = json_in_html({"name": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": HOSTILE}
    assert "</script" not in script_in_html("let a = '</script>'").lower()


def test_the_same_run_gives_the_same_file(runs_dir: Path) -> None:
    first, second = (report_page([RecordedRun.read(runs_dir, "digits-1")]) for _ in range(2))
    # Altair numbers views anew each time.
    plain = [re.sub(r"view_[0-9a-f]+_\d+", "view", page) for page in (first, second)]
    assert plain[0] == plain[1]


def test_runs_that_differ_say_why_they_are_not_drawn_together(
    run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    for name, more in (("a", {}), ("b", {}), ("c", {"data": "other"}), ("d", {})):
        run_folder(
            tmp_path, name=name, count=40, source="model:bops" if name == "d" else "measured:torch", **more
        )

    def together(*names: str) -> dict[str, Any]:
        page = report_page([RecordedRun.read(tmp_path, name) for name in names])
        return json.loads(Elements(page).scripts[0])

    assert together("a", "b")["comparable_latency"]
    assert together("a", "d")["comparable"]
    assert not together("a", "d")["comparable_latency"]
    assert "--data" in together("a", "c")["different"]
    assert not together("a", "c")["comparable"]


def test_without_the_extra_it_is_one_line(monkeypatch: pytest.MonkeyPatch, runs_dir: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("altair", "vl_convert") else real(name)
    )
    with pytest.raises(UserError, match=r"needs altair and vl-convert: pip install 'bitfront\[report\]'"):
        report_page([RecordedRun.read(runs_dir, "digits-1")])


def right_images(folder: Path) -> None:
    """All points agree on all images of the test split but two, of which they are divided on the second."""
    digests = RecordedRun.read(folder.parent, folder.name).front["digest"]
    rows = []
    for place, digest in enumerate(digests):
        right = np.ones(6, dtype=bool)
        right[4], right[2] = place > 0, place % 2 == 0
        rows.append([str(digest), "test", "6", packed(right)])
    (folder / "right_images.csv").write_text(csv_text(COLUMNS, rows))
    (folder / "splits.json").write_text(json.dumps({"search": [0], "test": [30, 31, 32, 33, 34, 35]}))


def test_images_that_points_disagree_on_are_shown_small(
    run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from bitfront.evaluators.data.digits import DigitsSource

    folder = run_folder(tmp_path, count=60)
    right_images(folder)
    run = RecordedRun.read(tmp_path, "digits-1")
    split, found = thumbnails(run, 10)
    assert split == "test"
    assert [image.place for image in found] == [2, 4]
    source = DigitsSource()
    assert [image.label for image in found] == [str(source.labels[index]) for index in (32, 34)]
    with Image.open(io.BytesIO(base64.b64decode(found[0].picture.partition(",")[2]))) as shown:
        own = np.asarray(source.load(32).convert("L"), dtype=float)
        assert shown.size == source.load(32).size
        assert np.abs(np.asarray(shown.convert("L"), dtype=float) - own).mean() < 12
    assert len(thumbnails(run, 1)[1]) == 1


def test_runs_that_do_not_know_which_images_are_right_have_none(runs_dir: Path) -> None:
    with pytest.raises(UserError, match="leave out --images"):
        thumbnails(RecordedRun.read(runs_dir, "digits-1"), 5)


def test_a_run_writes_its_report(runs_dir: Path, tmp_path: Path) -> None:
    run: Run = open_run("digits-1", runs_dir=runs_dir)
    assert run.report(tmp_path / "r.html") == tmp_path / "r.html"
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
