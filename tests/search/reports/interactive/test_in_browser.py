"""The report in a real browser: what it computes, and everything that a reader can do to it.

Needs Chromium (``apt-get install chromium``); skipped without.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refined_cases import write_refined_point
from report_browser import CHROMIUM, browser_page, listened_to

from bitfront.evaluators.files import csv_text
from bitfront.evaluators.tasks.quality import PairedComparison, packed
from bitfront.search.estimation.differences import Differences
from bitfront.search.export.evidence import Evidence, evidence_of
from bitfront.search.export.selection import cheapest_not_worse, default_choice, shortlist_of
from bitfront.search.reports.interactive.page import write_report
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.right_images import COLUMNS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]

# Of a chart: its view, and where its scales begin on the screen.
CORNER = (
    "const v = bitfrontReport.charts.views.{chart}, o = v.origin(), "
    "b = document.querySelector('#chart-{chart} canvas').getBoundingClientRect(), "
    "x = b.left + o[0], y = b.top + o[1]"
)
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"


def with_right_images(root: Path, name: str) -> None:
    """Which images each point of the front decides right, as drawn; images of classes with hostile names."""
    data = root / "photos"
    data.mkdir(exist_ok=True)
    for place in range(90):
        Image.new("RGB", (16, 12), (place, 90, 200)).save(data / f"{place}.png")
    labels = [[f"{place}.png", HOSTILE if place % 2 else "cat"] for place in range(90)]
    (data / "labels.csv").write_text(csv_text(("path", "label"), labels))
    splits = {"search": list(range(90)), "test": list(range(90))}
    (root / name / "splits.json").write_text(json.dumps(splits))
    rng = np.random.default_rng(5)
    rows = []
    for digest in RecordedRun.read(root, name).front["digest"]:
        for split, images in (("search", 203), ("test", 90)):
            rows.append([str(digest), split, str(images), packed(rng.random(images) < 0.9)])
    (root / name / "right_images.csv").write_text(csv_text(COLUMNS, rows))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, count in (("first", 240), ("second", 150)):
        make_run(
            folder,
            name=name,
            count=count,
            encoders=6,
            checkpoint=f"/weights/{HOSTILE}",
            data=str(folder / "photos" / "labels.csv"),
        )
        with_right_images(folder, name)
    return folder


@pytest.fixture(scope="module")
def run(root: Path) -> RecordedRun:
    return RecordedRun.read(root, "first")


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def opened(root: Path, complaints: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([RecordedRun.read(root, name) for name in ("first", "second")], path, images=90)
    with browser_page(
        complaints, viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    ) as page:
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        yield page


@pytest.fixture
def page(opened: Any, complaints: list[str]) -> Iterator[Any]:
    """The page as at first; whatever a test does, the console stays empty."""
    opened.evaluate("bitfrontReport.open(0)")
    opened.evaluate("bitfrontReport.clear()")
    opened.evaluate(
        "bitfrontReport.change({ pins: [], theme: 'light', others: false, x: 'size', y: 'top1' })"
    )
    opened.evaluate("bitfrontReport.point(null, null)")
    opened.evaluate("window.scrollTo(0, 0)")
    settle(opened)
    yield opened
    heard = complaints.copy()
    complaints.clear()
    assert heard == []


def settle(page: Any) -> None:
    """Waits until what was done is drawn."""
    page.wait_for_timeout(60)
    page.wait_for_function("!bitfrontReport.drawing")


def trials(page: Any, which: str) -> list[int]:
    """Trials that are ``within``, ``chosen`` or ``listed``."""
    found = page.evaluate(f"[...bitfrontReport.now.{which}].map((i) => bitfrontReport.front.trial[i])")
    return sorted(found)


def star(page: Any) -> int:
    return page.evaluate("bitfrontReport.front.trial[bitfrontReport.now.star]")


def place(page: Any, trial: int) -> tuple[float, float]:
    """Where a trial is in the front's chart."""
    page.locator("#chart-front").scroll_into_view_if_needed()
    return tuple(page.evaluate(f"bitfrontReport.onScreen(bitfrontReport.run.trial.indexOf({trial}))"))


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()
    settle(page)


def part(found: Evidence, kept: np.ndarray) -> Evidence:
    """The evidence of some points alone."""
    pairs = np.ix_(kept, kept)
    return dataclasses.replace(
        found,
        trials=found.trials[kept],
        quality=found.quality[kept],
        errors=found.errors[kept],
        differences=Differences(found.differences.values[pairs], found.differences.errors[pairs]),
        costs=found.costs[kept],
    )


def test_hostile_names_are_text_and_nothing_leaves_the_page(page: Any) -> None:
    assert page.evaluate("window.broken") is None
    assert "<img src=x onerror=" in page.locator("#facts").inner_text()
    assert page.locator("#facts img, #facts script").count() == 0


def test_refined_points_are_drawn_from_their_own_and_listed(
    opened: Any, complaints: list[str], tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    make_run(tmp_path, count=60, encoders=3)
    trial = int(RecordedRun.read(tmp_path, "digits-1").front["trial"].iloc[0])
    write_refined_point(tmp_path, "digits-1", trial, gain=3.0)
    path = tmp_path / "report.html"
    write_report([RecordedRun.read(tmp_path, "digits-1")], path)
    # Of the same browser: there is one player in a process at a time.
    page = listened_to(opened.context.new_page(), complaints)
    page.goto(f"{path.as_uri()}#pins={trial}")
    page.wait_for_selector("html[data-ready]")
    settle(page)
    (mark,) = page.evaluate("bitfrontReport.charts.views.front.data('refined').map((d) => ({ ...d }))")
    assert (mark["trial"], mark["from_x"]) == (trial, mark["x"])
    assert mark["y"] - mark["from_y"] == pytest.approx(3.0)
    assert mark["high"] - mark["y"] == pytest.approx(0.4)
    row = page.locator("#list tr.refined")
    assert f"{trial} refined" in row.inner_text()
    assert "+3.00 ± 0.40" in row.inner_text()
    assert f"bitfront export digits-1 --pick {trial} --refined" in page.locator("#compare").inner_text()
    assert "refined (1)" in page.locator("#legend").inner_text()
    page.evaluate("bitfrontReport.change({ at: 10 })")  # it was not there in the search
    settle(page)
    assert page.evaluate("bitfrontReport.charts.views.front.data('refined').length") == 0
    page.close()
    assert complaints == []


def test_the_star_and_the_shortlist_are_those_of_the_run(page: Any, run: RecordedRun) -> None:
    assert star(page) == default_choice(run).trial
    assert trials(page, "listed") == sorted(shortlist_of(run))
    assert f"trial {star(page)}" in page.locator("#summary").inner_text()
    behind = page.evaluate("[...bitfrontReport.now.stands].map(([i, s]) => [bitfrontReport.front.trial[i], "
                           "bitfrontReport.front.trial[s.by], s.near])")  # fmt: skip
    for trial, by, near in behind:
        if trial != by:
            assert trial in (shortlist_of(run)[by].near if near else shortlist_of(run)[by].alike)


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7, 0.9])
@pytest.mark.parametrize("column", ["size_bytes", "latency_ms", "top1"])
def test_star_and_shortlist_follow_limits_by_the_rules_of_the_command_line(
    page: Any, run: RecordedRun, column: str, share: float
) -> None:
    values = run.front[column].to_numpy()
    limit = float(np.quantile(values, share))
    kept = np.flatnonzero(values >= limit if column == "top1" else values <= limit)
    found = part(evidence_of(run), kept)
    position, _ = cheapest_not_worse(found)
    key = {"size_bytes": "size", "latency_ms": "latency"}.get(column, column)
    scale = 1e-6 if key == "size" else 1.0
    page.evaluate(f"bitfrontReport.change({{ limits: {{ {key}: {limit * scale!r} }} }})")
    settle(page)
    assert trials(page, "within") == sorted(found.trials.tolist())
    assert star(page) == found.trials[position]
    listed = found.shortlist(keep=[position]).listed
    assert trials(page, "listed") == sorted(found.trials[list(listed)].tolist())


def test_a_slider_limits_and_the_address_keeps_it(page: Any, run: RecordedRun) -> None:
    slider = page.locator("#limit-size")
    limit = float(run.front["size_bytes"].median()) * 1e-6
    slider.evaluate(f"(slider) => {{ slider.value = {limit}; slider.dispatchEvent(new Event('input')); }}")
    settle(page)
    within = trials(page, "within")
    assert within == sorted(run.front.loc[run.front["size_bytes"] <= limit * 1e6, "trial"].tolist())
    assert (
        f"{len(within)} of {len(run.front)} points within the limits" in page.locator("#summary").inner_text()
    )
    page.evaluate("bitfrontReport.change({ pins: [bitfrontReport.front.trial[0]], y: 'latency' })")
    settle(page)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    settle(page)
    assert trials(page, "within") == within
    assert page.locator("#axis-y").input_value() == "latency"
    assert page.locator(".pins thead th").count() == 2
    page.get_by_role("button", name="clear limits and filters").click()
    settle(page)
    assert len(trials(page, "within")) == len(run.front)
    assert float(slider.input_value()) == pytest.approx(float(slider.get_attribute("max")), rel=1e-3)


def test_an_area_of_the_front_selects_in_every_chart(page: Any, run: RecordedRun) -> None:
    left, top, wide, high = page.evaluate(
        f"(() => {{ {CORNER.format(chart='front')}; return [x, y, v.width(), v.height()]; }})()"
    )
    drag(page, (left + 4, top + 4), (left + wide * 0.45, top + high - 4))
    edge = page.evaluate("bitfrontReport.state.brush.x")
    chosen = trials(page, "chosen")
    sizes = run.front.set_index("trial")["size_bytes"] * 1e-6
    assert 0 < len(chosen) < len(run.front)
    assert chosen == sorted(sizes[(sizes >= min(edge)) & (sizes <= max(edge))].index.tolist())
    assert "area of the front" in page.locator("#chips").inner_text()
    veiled = page.evaluate("bitfrontReport.charts.views.bits.data('veil').length")
    assert veiled == len(run.front) - len(chosen)
    strong = "[...new Set(bitfrontReport.charts.views.parallel.data('lines').filter((l) => l.opacity > 0.3)" \
        ".map((l) => l.trial))].length"  # fmt: skip
    assert page.evaluate(strong) >= len(chosen)
    page.get_by_role("button", name="zoom to the area").click()
    settle(page)
    assert page.evaluate("bitfrontReport.charts.views.front.signal('xhigh')") == pytest.approx(
        max(edge), rel=1e-6
    )
    page.keyboard.press("Escape")
    settle(page)
    assert trials(page, "chosen") == trials(page, "within") == sorted(run.front["trial"].tolist())


def test_a_range_of_an_axis_selects_and_is_taken_away_by_a_click(page: Any, run: RecordedRun) -> None:
    page.locator("#chart-parallel").scroll_into_view_if_needed()

    def at(axis: int, up: float) -> tuple[float, float]:
        corner = CORNER.format(chart="parallel")
        script = f"([a, p]) => {{ {corner}; return [x + v.scale('x')(a), y + v.scale('y')(p)]; }}"
        return tuple(page.evaluate(script, [axis, up]))

    (x, high), (_, low) = at(0, 1.03), at(0, 0.5)
    drag(page, (x - 12, high), (x + 12, low))
    assert page.evaluate("Object.keys(bitfrontReport.state.ranges)") == ["top1"]
    least = min(page.evaluate("bitfrontReport.state.ranges.top1"))
    assert trials(page, "chosen") == sorted(run.front.loc[run.front["top1"] >= least, "trial"].tolist())
    page.mouse.click(*at(0, 0.8))
    settle(page)
    assert page.evaluate("Object.keys(bitfrontReport.state.ranges)") == []


def test_a_click_on_a_gene_shows_the_points_that_carry_it(page: Any, run: RecordedRun) -> None:
    page.locator("#chart-bits").scroll_into_view_if_needed()
    assert page.locator("#widths i").all_inner_texts() == ["4", "8"]
    middle = "x + v.scale('x')((c.left + c.right) / 2), y + v.scale('y')((c.top + c.bottom) / 2)"
    cell = f"{CORNER.format(chart='bits')}; const c = v.data('cells')[8]"
    spot = page.evaluate(f"(() => {{ {cell}; return [{middle}, c.gene, c.digit]; }})()")
    page.mouse.click(*spot[:2])
    settle(page)
    name, bits = run.genes[spot[2]].name, (4, 8)[spot[3]]
    assert trials(page, "chosen") == sorted(run.front.loc[run.front[name] == bits, "trial"].tolist())
    assert f"{name} has {bits} bits in" in page.locator("#carriers").inner_text()
    page.locator("#chips button").click()
    settle(page)
    assert len(trials(page, "chosen")) == len(run.front)


def test_formats_go_by_name(opened: Any, complaints: list[str], formats_runs: Path, tmp_path: Path) -> None:
    run, path = RecordedRun.read(formats_runs, "mixed"), tmp_path / "report.html"
    write_report([run], path)
    trial, name = int(run.front["trial"].iloc[-1]), "encoder00.weights"
    chosen = run.front.loc[run.front[name] == "int8a", "trial"].tolist()
    page = listened_to(opened.context.new_page(), complaints)
    page.goto(f"{path.as_uri()}#gene={name}:int8a&pins={trial}")
    page.wait_for_selector("html[data-ready]")
    settle(page)
    assert page.locator("#widths i").all_inner_texts() == ["4", "8", "8a", "bf16"]
    assert trials(page, "chosen") == sorted(chosen)
    assert f"{name} has 8 bits, zero points in {len(chosen)} of" in page.locator("#carriers").inner_text()
    assert f"{name}: 8 bits, zero points" in page.locator("#chips").inner_text()
    point = run.front.set_index("trial").loc[trial]
    labels = {4: "4", 8: "8", "int8a": "8a", "bf16": "bf16"}
    shown = page.locator("#compare .bits i").all_inner_texts()
    assert sorted(shown) == sorted(labels[point[gene.name]] for gene in run.genes)
    page.close()


def test_pinned_points_are_compared_and_can_be_exported(page: Any, run: RecordedRun) -> None:
    listed = sorted(shortlist_of(run))
    first, second = listed[0], listed[-1]
    for trial in (first, second):
        page.mouse.click(*place(page, trial))
        settle(page)
    assert page.evaluate("bitfrontReport.state.pins") == [first, second]
    words = page.locator("#compare").inner_text()
    assert f"bitfront export first --pick {first}" in words
    digests = run.front.set_index("trial")["digest"]
    for split in ("search", "test"):
        right = run.right_images(split)
        one, other = right[digests[first]], right[digests[second]]
        lost, won = int((~one & other).sum()), int((one & ~other).sum())
        pair = PairedComparison(len(one), lost, won)
        assert f"{won} images only A, {lost} only B, of {len(one)}" in words
        told = re.search(rf"of {len(one)} \(p = ([\d.e-]+)\)", words)
        assert float(told[1]) == pytest.approx(pair.mcnemar_p, rel=0.06)
    found = evidence_of(run)
    i, j = (int(np.flatnonzero(found.trials == trial)[0]) for trial in (first, second))
    difference = found.differences.between(i, j)
    assert f"{abs(difference.value):.2f} ± {difference.error:.2f}" in words
    columns = [gene.name for gene in run.genes]
    rows = run.front.set_index("trial").loc[[first, second], columns]
    assert page.locator(".bits i.changed").count() == int((rows.iloc[0] != rows.iloc[1]).sum())
    right = run.right_images("test")
    disputed = int((right[digests[first]] != right[digests[second]]).sum())
    assert page.locator(".images img").count() == disputed
    widths = "[...document.querySelectorAll('.images img')].map((image) => image.naturalWidth)"
    assert page.evaluate(widths) == [16] * disputed
    captions = set(page.locator("figcaption").all_inner_texts())
    assert captions & {f"{HOSTILE}: only A", f"{HOSTILE}: only B"}
    page.locator(".copy").first.click()
    page.wait_for_function("document.querySelector('.copy').textContent === 'copied'", timeout=20_000)
    assert page.evaluate("navigator.clipboard.readText()") == f"bitfront export first --pick {first}"
    page.keyboard.press("c")
    settle(page)
    assert page.evaluate("bitfrontReport.state.pins") == []


def test_the_card_says_what_a_trial_is_and_why_it_is_not_on_the_front(page: Any, run: RecordedRun) -> None:
    listed = sorted(shortlist_of(run))[0]
    page.mouse.move(*place(page, listed))
    page.wait_for_selector("#card:not([hidden])")
    card = page.locator("#card").inner_text()
    row = run.front.set_index("trial").loc[listed]
    assert f"trial {listed} on the front" in card
    assert f"{row['top1']:.2f} ±" in card
    assert f"{row['test_top1']:.2f}" in card
    assert page.locator("#card .bits i").count() == len(run.genes)
    page.evaluate("(() => { const p = bitfrontReport, code = p.run.groups.indexOf('failed');"
                  "p.point(p.run.group.indexOf(code), { clientX: 300, clientY: 300 }); })()")  # fmt: skip
    assert "failed: blocks.0.mlp.fc1 saturates" in page.locator("#card").inner_text()
    page.evaluate("(() => { const p = bitfrontReport, code = p.run.groups.indexOf('dominated');"
                  "p.point(p.run.group.indexOf(code), { clientX: 300, clientY: 300 }); })()")  # fmt: skip
    assert "is at least as good in every objective" in page.locator("#card").inner_text()


def test_axes_can_be_chosen_measured_latency_among_them(page: Any) -> None:
    options = page.locator("#axis-x option").all_inner_texts()
    assert any("latency of the whole model" in text for text in options)
    page.locator("#axis-x").select_option("measured")
    settle(page)
    assert page.evaluate("bitfrontReport.state.x") == "measured"
    page.get_by_role("button", name="swap the axes").click()
    settle(page)
    assert page.evaluate("[bitfrontReport.state.x, bitfrontReport.state.y]") == ["top1", "measured"]


def test_the_search_is_replayed_by_evaluation(page: Any, run: RecordedRun) -> None:
    at = 100
    slider = page.locator("#replay")
    slider.evaluate(f"(slider) => {{ slider.value = {at}; slider.dispatchEvent(new Event('input')); }}")
    settle(page)
    seen = run.trials[(run.trials["trial"] < at) & run.trials["feasible"]]
    points = seen[["top1", "latency_ms", "size_bytes"]].to_numpy() * [-1, 1, 1]
    beaten = ((points[None] <= points[:, None]).all(-1) & (points[None] < points[:, None]).any(-1)).any(1)
    count = len(np.unique(points[~beaten], axis=0))
    summary = page.locator("#summary").inner_text()
    assert f"after {at} of {len(run.trials)} trials: {count} on the front" in summary
    assert "hypervolume 0." in summary
    page.locator("#play").click()
    page.wait_for_function(f"bitfrontReport.state.at > {at}")
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "replay"


def test_keys_move_along_the_front_and_pin(page: Any, run: RecordedRun) -> None:
    page.locator("#chart-front").focus()
    page.keyboard.press("ArrowRight")
    smallest = run.front.sort_values("size_bytes")["size_bytes"].iloc[0] * 1e-6
    assert f"size {smallest:.4f} MB" in page.locator("#said").inner_text()
    page.keyboard.press("p")
    settle(page)
    assert len(page.evaluate("bitfrontReport.state.pins")) == 1
    page.keyboard.press("s")
    page.wait_for_selector("#card:not([hidden])")
    assert f"★ trial {star(page)}" in page.locator("#card").inner_text()
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.locator("#keys button").click()


def test_dark_mode_by_the_system_and_by_choice(page: Any) -> None:
    page.evaluate("bitfrontReport.change({ theme: 'auto' })")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    settle(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 23)"
    page.keyboard.press("t")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.emulate_media(color_scheme="light")
    settle(page)


def test_tables_and_charts_are_saved(page: Any, run: RecordedRun, tmp_path: Path) -> None:
    def saved(name: str) -> str:
        with page.expect_download() as found:
            page.locator(f"[data-save='{name}']").click()
        found.value.save_as(tmp_path / name)
        return (tmp_path / name).read_text()

    rows = list(csv.DictReader(saved("front.csv").splitlines()))
    assert sorted(int(row["trial"]) for row in rows) == sorted(run.front["trial"].tolist())
    assert len(list(csv.DictReader(saved("all.csv").splitlines()))) == len(run.trials)
    for name in ("front", "parallel", "bits", "history"):
        text = saved(f"{name}.svg")
        assert text.startswith("<svg")
        assert "</svg>" in text


def test_several_runs_stand_in_one_file(page: Any) -> None:
    assert page.locator("#tabs button").all_inner_texts() == ["first", "second"]
    page.locator("#others").check()
    settle(page)
    lines = "[...new Set(bitfrontReport.charts.views.front.data('stairs').map((p) => p.run))]"
    assert page.evaluate(lines) == ["first", "second"]
    page.get_by_role("tab", name="second").click()
    settle(page)
    assert page.evaluate("bitfrontReport.run.name") == "second"
    assert "run=second" in page.url
    assert json.loads(page.evaluate("JSON.stringify(bitfrontReport.state.pins)")) == []


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("bitfrontReport.remake()")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("bitfrontReport.remake()")
    settle(page)
