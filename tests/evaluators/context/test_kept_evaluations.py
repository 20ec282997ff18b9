"""Evaluations in the cache: shared by processes, whole after kills, and nobody's word is taken for it."""

from __future__ import annotations

import json
import multiprocessing
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitfront.evaluators.context.kept_evaluations import KeptEvaluations
from bitfront.evaluators.context.kept_setting import keep_batch_size, kept_batch_size
from bitfront.evaluators.tasks.quality import Quality, packed
from bitfront.evaluators.tasks.registry import task_named

KEY, IMAGES = "a" * 64, 40
METRICS = task_named("classification").measured()
DIGESTS = [f"{number:012x}" for number in range(50)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path))


def opened() -> KeptEvaluations:
    return KeptEvaluations.open(KEY, IMAGES, METRICS)


def quality(images: int = IMAGES, **changes: Any) -> Quality:
    right = packed(np.arange(images) % 3 > 0)
    values = {metric.name: 0.1 * place for place, metric in enumerate(METRICS)}
    return Quality(**{"images": images, "values": values, "lost": 3, "won": 1, "seconds": 2.5,
                      "right": right, "expected_difference": -0.25, **changes})  # fmt: skip


def line(document: object) -> str:
    text = json.dumps(document)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def add_some(first: int, folder: str) -> None:
    import os

    os.environ["BITFRONT_CACHE"] = folder
    kept = opened()
    for digest in DIGESTS[first::2]:
        kept.add(digest, quality())


def test_what_was_added_is_there_for_the_next_run() -> None:
    kept = opened()
    assert (len(kept), kept.get(DIGESTS[0], IMAGES), kept.longest(DIGESTS[0])) == (0, None, None)
    kept.add(DIGESTS[0], quality())
    kept.add(DIGESTS[1], quality(16))
    kept.add(DIGESTS[1], quality(32))
    again = opened()
    assert (len(again), again.damaged) == (2, 0)
    assert again.get(DIGESTS[0], IMAGES) == quality()
    assert again.get(DIGESTS[1], IMAGES) is None
    assert (again.get(DIGESTS[1], 16), again.longest(DIGESTS[1])) == (quality(16), quality(32))
    assert len(KeptEvaluations.open("b" * 64, IMAGES, METRICS)) == 0


def test_two_processes_add_at_the_same_time(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=add_some, args=(first, str(tmp_path))) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (len(opened()), opened().damaged) == (50, 0)


def test_a_line_that_was_cut_short_costs_itself_alone(tmp_path: Path) -> None:
    kept = opened()
    for digest in DIGESTS[:3]:
        kept.add(digest, quality())
    (path,) = tmp_path.glob("*.evaluations.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    again = opened()
    assert (len(again), again.damaged) == (2, 1)
    again.add(DIGESTS[7], quality())
    assert (len(opened()), opened().damaged) == (3, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"images": 41},
        {"images": 0},
        {"images": True},
        {"images": 40.0},
        {"lost": -1},
        {"lost": 30, "won": 30},
        {"top1": 101.0},
        {"top1": "99"},
        {"loss": float("inf")},
        {"right": "AAAA"},
        {"right": 3},
        {"further": 1.0},
        {"loss": None},
    ],
    ids=str,
)
def test_what_is_no_evaluation_of_these_images_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    kept = opened()
    kept.add(DIGESTS[0], quality())
    (path,) = tmp_path.glob("*.evaluations.jsonl")
    document = {"digest": DIGESTS[1], "quality": {**quality().to_json(), **change}}
    with path.open("a") as file:
        file.write(line(document))
    again = opened()
    assert (len(again), again.damaged) == (1, 1)


@pytest.mark.parametrize("text", ["[]", "{}", '{"digest": 1}', "[" * 5000, "\udcff"])
def test_lines_of_anything_are_left_out(tmp_path: Path, text: str) -> None:
    opened().add(DIGESTS[0], quality())
    (path,) = tmp_path.glob("*.evaluations.jsonl")
    content = text.encode("utf-8", "surrogateescape")
    with path.open("ab") as file:
        file.write(f"{zlib.crc32(content):08x} ".encode() + content + b"\n")
        file.write(b"no line\n")
    assert (len(opened()), opened().damaged) == (1, 2)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.evaluations.jsonl"
    path.write_text("my notes\n")
    kept = opened()
    kept.add(DIGESTS[0], quality())
    assert path.read_text() == "my notes\n"
    assert kept.get(DIGESTS[0], IMAGES) == quality()


def test_nothing_is_kept_where_the_cache_is_off_or_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "file"))
    kept = opened()
    kept.add(DIGESTS[0], quality())
    kept.add(DIGESTS[1], quality())
    assert caplog.text.count("evaluations are not kept") == 1
    monkeypatch.setenv("BITFRONT_CACHE", "off")
    opened().add(DIGESTS[0], quality())
    keep_batch_size(KEY, 8)
    assert (len(opened()), kept_batch_size(KEY)) == (0, None)


def test_the_limit_of_the_cache_holds_for_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / f"{'c' * 64}.evaluations.jsonl"
    old.write_bytes(bytes(4000))
    monkeypatch.setenv("BITFRONT_CACHE_LIMIT", "4100")
    opened().add(DIGESTS[0], quality())
    assert not old.exists()
    assert len(opened()) == 1


def test_the_batch_size_that_was_measured_is_kept(tmp_path: Path) -> None:
    assert kept_batch_size(KEY) is None
    keep_batch_size(KEY, 16)
    assert kept_batch_size(KEY) == 16
    (path,) = tmp_path.glob("*.setting.json")
    for text in ("{", "[]", '{"format": "bitfront/batch-size", "batch_size": 0}', '{"batch_size": 8}'):
        path.write_text(text)
        assert kept_batch_size(KEY) is None
