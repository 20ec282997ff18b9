"""What images tell apart, in words, and limits that are finer."""

import math

import pytest

from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.limits import read_limits
from bitfront.search.problem.resolution import Resolution


def drops(**drops):
    return read_limits(
        {"latency": "0.9x", "size": "4MB"}, {"top1": 70.0}, {}, drops, task_named("classification")
    )


def test_images_tell_two_standard_errors_of_a_paired_difference():
    found = Resolution.of(256, changed=3)
    assert found.changed == 0.04, "a few changed images of the 8-bit model say little of narrower ones"
    assert found.words("search", "top-1") == (
        "256 search images tell differences of 2.5 points of top-1 apart (two standard errors)"
    )
    assert Resolution.of(400, changed=36).points == pytest.approx(200 * math.sqrt(0.09 / 400))


def test_a_long_evaluation_says_how_long():
    told = Resolution.of(6400, changed=0, seconds=32.0).words("search", "top-1")
    assert told.startswith("6,400 search images tell differences of 0.50 points of top-1 apart")
    assert told.endswith("; one evaluation of all of them takes about 32 s")


def test_points_are_rounded_to_what_is_certain():
    assert "of 2.1 points" in Resolution.of(364, changed=0).words("search", "top-1")


@pytest.mark.parametrize(
    ("drop", "available", "remedy"),
    [
        (2.5, 9000, None),
        (2.0, 9000, "give --search-images 400 (9,000 could be had), or a looser limit"),
        (
            1.0,
            900,
            "no more than 900 images to search with (--search-images 900), which tell 1.4 points: give",
        ),
        (1.0, 200, "the data has no more images to search with: give more of them, or a looser limit"),
        (0.0, 900, "no more than 900 images"),
    ],
)
def test_limits_finer_than_that_are_named_with_a_remedy(drop, available, remedy):
    warnings = Resolution.of(256, 0, available, limits=drops(top1=drop)).warnings()
    assert len(warnings) == (remedy is not None)
    if remedy is not None:
        assert warnings[0].startswith(f"--max-drop {drop:g} is finer than that: ")
        assert remedy in warnings[0]


def test_only_drops_of_shares_are_compared():
    found = Resolution.of(256, 0, 9000, limits=drops(loss=0.001, macro_f1=1.0))
    assert found.finer == (("--max-drop macro_f1=1", 1.0),)
    assert found.to_json()["finer_limits"] == {"--max-drop macro_f1=1": 1.0}
    assert found.to_json()["points"] == pytest.approx(2.5)
