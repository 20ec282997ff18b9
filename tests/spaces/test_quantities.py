"""Texts of sizes, times and durations."""

from __future__ import annotations

import pytest

from bitfront.spaces import UserError
from bitfront.spaces.quantities import BYTES, MILLISECONDS, count_of, parse_duration, read_quantity


@pytest.mark.parametrize(
    ("text", "size"),
    [("4MB", 4e6), (" 1.5 GiB ", 1.5 * 2**30), ("0b", 0.0), ("2tb", 2e12), ("1.2MIB", 1.2 * 2**20)],
)
def test_sizes(text: str, size: float) -> None:
    assert read_quantity(text, BYTES) == size


@pytest.mark.parametrize(
    "text", ["", "4", "MB", "-1GB", "2 G B", "1e9b", "nan", "2GX", "\u0663GB", "4MB5", ".5MB", "4 ms"]
)
def test_other_texts_are_no_sizes(text: str) -> None:
    assert read_quantity(text, BYTES) is None


def test_units_are_the_callers() -> None:
    assert read_quantity("12 MS", MILLISECONDS) == 12.0
    assert read_quantity("0.9x", {"x": 20.0}) == 18.0
    assert read_quantity("123", {"": 1.0}) == 123.0


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5m", 90)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "10 minutes", "0s", "5m5", "nan"])
def test_wrong_durations_are_refused(text):
    with pytest.raises(UserError, match="is not a duration: write"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (12_000, ("image",), "12,000 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
    ],
)
def test_counts_agree_with_their_nouns(count, words, text):
    assert count_of(count, *words) == text
