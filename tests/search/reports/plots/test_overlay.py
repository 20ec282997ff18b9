"""Several runs in one picture: told apart, comparable, and refused where an axis would mix what differs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bitfront.search.problem.limits import Limit
from bitfront.search.reports.plots.comparable import check_comparable, same_box
from bitfront.search.reports.plots.overlay import overlay_figures
from bitfront.search.reports.plots.style import MOST_SERIES, series_named
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> list[RecordedRun]:
    """Two runs of one model and data: the second has seen half as much, and was drawn at random."""
    root = tmp_path_factory.mktemp("pair")
    for name, count in zip(NAMES, (120, 60), strict=True):
        make_run(root, name=name, count=count)
    first, second = (RecordedRun.read(root, name) for name in NAMES)
    return [first, dataclasses.replace(second, spec={**second.spec, "sampler": "random"})]


def changed(run: RecordedRun, evaluation: dict[str, Any] | None = None, **summary: Any) -> RecordedRun:
    spec = {**run.spec, "evaluation": {**run.evaluation, **(evaluation or {})}}
    return dataclasses.replace(run, spec=spec, summary={**run.summary, **summary})


def with_float(run: RecordedRun, **values: float) -> RecordedRun:
    first, *others = run.references
    scores = {**first.values, **{n: v for n, v in values.items() if n in first.values}}
    others_of = {n: v for n, v in values.items() if n not in first.values}
    return dataclasses.replace(
        run, references=(dataclasses.replace(first, values=scores, **others_of), *others)
    )


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_run_has_its_front_and_the_legend_their_names(pair: list[RecordedRun]) -> None:
    found, notes = overlay_figures(pair)
    assert list(found) == ["front", "front_size", "front_latency", "hypervolume"]
    assert notes == ()
    assert legend_of(found["front"]) == ["nsga2", "random", "knee"]
    assert legend_of(found["hypervolume"]) == ["nsga2", "random"]
    [axes] = found["front_size"].axes
    shown = np.concatenate(
        [np.asarray(part.get_offsets()) for part in axes.collections if hasattr(part, "get_sizes")]
    )
    places = {(round(float(x), 9), round(float(y), 9)) for x, y in shown}
    for run in pair:
        points = {
            (size / 1e6, top1) for size, top1 in zip(run.front["size_bytes"], run.front["top1"], strict=True)
        }
        assert {(round(x, 9), round(y, 9)) for x, y in points} <= places
    assert len(axes.containers) == 2


def test_looks_differ_in_colour_mark_dashes_and_grey() -> None:
    looks = series_named([str(number) for number in range(MOST_SERIES)])
    for one in range(MOST_SERIES):
        for other in range(one):
            assert looks[one].color != looks[other].color
            assert looks[one].marker != looks[other].marker
            assert looks[one].dashes != looks[other].dashes
    grey = [float(np.dot(to_rgb(look.color), (0.299, 0.587, 0.114))) for look in looks[:3]]
    assert min(abs(one - other) for i, one in enumerate(grey) for other in grey[:i]) > 0.2


def test_labels_are_what_was_asked_for_or_what_differs_or_the_names(pair: list[RecordedRun]) -> None:
    def labels(runs: list[RecordedRun], asked: list[str] | None = None) -> list[str]:
        return legend_of(overlay_figures(runs, asked, only=("front_size",)).figures["front_size"])[:2]

    one, two = pair
    assert labels(pair, [" A ", "B"]) == ["A", "B"]
    deploy = changed(two, {"scheme": "deploy"})
    assert labels([one, deploy]) == list(NAMES)  # the sampler differs, too
    assert labels([dataclasses.replace(one, spec=two.spec), deploy]) == ["fq-vit", "deploy"]
    assert labels([one, dataclasses.replace(two, spec=one.spec)]) == list(NAMES)
    for asked in (["A"], ["A", "A"], ["A", " "], ["A", "B", "C"]):
        with pytest.raises(UserError, match="expected 2 different ones"):
            labels(pair, asked)


def test_titles_name_no_run(pair: list[RecordedRun]) -> None:
    for figure in overlay_figures(pair).figures.values():
        written = [text.get_text() for text in figure.texts]
        assert written[0] in ("Pareto fronts, digits_deit on digits", "Hypervolume, digits_deit on digits")
        assert not any(name in text for name in NAMES for text in written)


def test_limits_and_references_that_are_not_of_all_say_whose_they_are(pair: list[RecordedRun]) -> None:
    one, two = pair
    limited = dataclasses.replace(one, limits=(Limit("max_size", "size_bytes", "at most", 1e6, "1MB"),))
    [axes] = overlay_figures([limited, two], only=("front_size",)).figures["front_size"].axes
    texts = " ".join(text.get_text() for text in axes.texts)
    assert "--max-size 1MB, nsga2" in texts
    assert "--max-size 0.95x, random" in texts
    [axes] = overlay_figures(pair, only=("front_size",)).figures["front_size"].axes
    assert not any(", nsga2" in text.get_text() or ", random" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda run: changed(run, {"data": "cifar10"}),
            "images differ .one: --data digits, two: --data cifar",
        ),
        (lambda run: changed(run, {"seed": 3}), "images differ .one: --seed 0, two: --seed 3.*same --seed"),
        (
            lambda run: changed(with_float(run, top1=90.0), {"model": "x"}),
            "float models differ .one: --model",
        ),
        (lambda run: with_float(run, loss=0.07), "float models differ .one: float32 with top-1 98.90"),
        (lambda run: with_float(run, size_bytes=5.5e6), "float models differ"),
        (
            lambda run: changed(run, latency_source="model:bops"),
            "latencies differ .one: measured:torch, two: m",
        ),
        (lambda run: changed(run, latency_batch=8), "of unknown size, two: batches of 8.*--only front_size"),
        (lambda run: changed(run, {"metrics": ["macro_f1"]}), None),
        (lambda run: changed(run, {"scheme": "deploy", "recipe": "plain", "widths": [2, 8]}), None),
        (lambda run: with_float(run, loss=0.05 * 1.0001, latency_ms=5.1), None),
    ],
)
def test_what_one_axis_must_not_mix(
    pair: list[RecordedRun], change: Callable[[RecordedRun], RecordedRun], message: str | None
) -> None:
    one, two = pair
    if message is None:
        check_comparable([one, change(two)], latency=True)
        return
    with pytest.raises(UserError, match=message):
        check_comparable([one, change(two)], latency=True)
    if "latencies" in message or "batches" in message:
        check_comparable([one, change(two)], latency=False)


def test_other_metrics_are_refused(pair: list[RecordedRun]) -> None:
    one, two = pair
    other = dataclasses.replace(two, spec={**two.spec, "objectives": ["kl", "size"]})
    with pytest.raises(UserError, match="metrics differ"):
        check_comparable([one, other], latency=False)


def test_other_splits_machines_and_tables_are_refused(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    def runs(source: str = "measured:torch", **files: Any) -> list[RecordedRun]:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in NAMES:
            folder = make_run(root, name=name, count=30, encoders=2, source=source)
            for file, (first, second) in files.items():
                (folder / f"{file}.json").write_text(json.dumps(first if name == "one" else second))
        return [RecordedRun.read(root, name) for name in NAMES]

    check_comparable(runs(splits=({"search": [1, 2]}, {"search": [1, 2]})), latency=True)
    with pytest.raises(UserError, match="images differ"):
        check_comparable(runs(splits=({"search": [1, 2]}, {"search": [1, 3]})), latency=True)
    check_comparable(runs(environment=({"cpu": "A"}, {"cpu": "A"})), latency=True)
    with pytest.raises(UserError, match=r"latencies differ .one: A, two: B"):
        check_comparable(runs(environment=({"cpu": "A"}, {"cpu": "B"})), latency=True)
    one, two = runs("table:t.csv (measured:torch)", environment=({"cpu": "A"}, {"cpu": "B"}))
    check_comparable(
        [one, two], latency=True
    )  # times were read: the machine of the search has no part in them
    with pytest.raises(UserError, match=r"t.csv .* with 5.1 ms for float32"):
        check_comparable([one, with_float(two, latency_ms=5.1)], latency=True)


def test_a_run_twice_and_too_many_are_refused(pair: list[RecordedRun], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run one is named twice"):
        check_comparable([pair[0], pair[1], pair[0]], latency=True)
    for few in ([], pair[:1]):
        with pytest.raises(UserError, match="at least two runs to draw together, got"):
            overlay_figures(few)
    many = [dataclasses.replace(pair[0], path=tmp_path / str(n)) for n in range(MOST_SERIES + 1)]
    with pytest.raises(UserError, match=f"at most {MOST_SERIES}"):
        check_comparable(many, latency=False)
    check_comparable(many[1:], latency=False)


def test_hypervolumes_of_other_boxes_are_not_drawn_together(pair: list[RecordedRun]) -> None:
    one, two = pair
    other = changed(two, reference_point={"top1": 0.0, "latency_ms": 9.9, "size_bytes": 5_360_000})
    assert same_box(pair)
    assert not same_box([one, other])
    figures, notes = overlay_figures([one, other], only=("front_size", "hypervolume"))
    assert list(figures) == ["front_size"]
    assert "other boxes" in notes[0]
    with pytest.raises(UserError, match="no picture of the hypervolumes"):
        overlay_figures([one, other], only=("hypervolume",))
    with pytest.raises(UserError, match="no bit map together"):
        overlay_figures(pair, only=("bit_map",))


def test_counts_are_drawn_where_one_run_has_no_estimates(pair: list[RecordedRun]) -> None:
    one, two = pair
    front = two.front.assign(top1_estimate=two.front["top1"] - 1, top1_estimate_error=0.1)
    estimated = dataclasses.replace(two, front=front)
    only = ("front_size",)
    [axes] = overlay_figures([one, estimated], only=only).figures["front_size"].axes
    assert "estimated" not in axes.get_ylabel()
    both = dataclasses.replace(
        one, front=one.front.assign(top1_estimate=one.front["top1"], top1_estimate_error=0.1)
    )
    [axes] = overlay_figures([both, estimated], only=only).figures["front_size"].axes
    assert "estimated" in axes.get_ylabel()


def test_a_run_without_a_front_yet_leaves_the_hypervolume(pair: list[RecordedRun]) -> None:
    one, two = pair
    bare = dataclasses.replace(two, front=two.front.iloc[:0], trials=two.trials.iloc[:0])
    assert list(overlay_figures([one, bare]).figures) == ["hypervolume"]
