"""Reference models: what is recorded of them is read again, from earlier versions too."""

from __future__ import annotations

import json
import math

import pytest

from bitfront.search.problem.references import Reference, References


def test_references_round_trip_among_further_models() -> None:
    shared = {"classes": 10, "latency_source": "table:x.csv", "images": 500, "test_images": 450}
    references = References(
        Reference("float32", 20.0, 400, {"top1": 98.0, "loss": 0.1}, test_values={"top1": 97.0}, **shared),
        Reference("W8A8T8", 12.0, 100, lost=3, won=1, test_lost=2, test_won=0, **shared),
    )
    document = json.loads(json.dumps([*references.to_json(), {"name": "W4A4T4", "top1": 3.0}]))
    assert [entry["name"] for entry in document] == ["float32", "W8A8T8", "W4A4T4"]
    assert [Reference.from_json(entry) for entry in document[:2]] == [
        references.float_model,
        references.eight_bit,
    ]
    assert Reference.from_json(document[2]).values["top1"] == 3.0


def test_keys_and_their_order_are_those_that_readers_know() -> None:
    measured = Reference("float32", 20.0, 400, {"top1": 98.0, "loss": 0.1}, test_values={"top1": 97.0})
    assert list(measured.to_json()) == [
        "name", "latency_ms", "size_bytes", "top1", "loss", "latency_measured_ms", "test_top1", "lost", "won",
        "test_lost", "test_won", "latency_source", "classes", "images", "test_images", "right",
        "test_right",
    ]  # fmt: skip


def test_references_of_earlier_versions_have_no_counts() -> None:
    later = {"images", "test_images", "lost", "won", "test_lost", "test_won"}
    for whole in (
        Reference("float32", 20.0, 400, lost=0, images=50),
        Reference("W8A8T8", 12.0, 100, won=3, images=50),
    ):
        document = {k: v for k, v in whole.to_json().items() if k not in later}
        assert Reference.from_json(document) == Reference(whole.name, whole.latency_ms, whole.size_bytes)


def test_what_is_missing_is_not_known() -> None:
    found = Reference.from_json({"name": "W4A4T4", "top1": None, "future": 3})
    assert "top1" not in found.values
    assert math.isnan(found.latency_ms)
    assert math.isnan(found.size_bytes)


@pytest.mark.parametrize("entry", [{"top1": 3}, {"name": "m", "top1": "high"}, {"name": "m", "lost": []}])
def test_what_is_damaged_is_refused(entry: dict) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        Reference.from_json(entry)
