"""What a benchmark is asked for, as the command line writes it and as Python has it."""

from __future__ import annotations

import pytest

from bitfront.search.session import bench_options
from bitfront.search.session.bench_options import BenchOptions
from bitfront.spaces import UserError


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_options, "runtime_is_installed", lambda name: name != "onnxruntime")


def test_texts_and_lists_mean_the_same() -> None:
    texts = BenchOptions.of("deploy", "W8A8T8, W4A8T8", "torch", "resnet18", "8,1,8", "90s")
    lists = BenchOptions.of("deploy", ["W8A8T8", "W4A8T8"], ["torch"], ["resnet18"], [1, 8], 90.0)
    assert texts == lists
    assert texts.uniform == {"W8A8T8": (8, 8, 8), "W4A8T8": (4, 8, 8)}
    assert (texts.runtimes, texts.baselines, texts.batches) == (("torch",), ("resnet18",), (1, 8))
    assert texts.budget_s == 90.0


def test_what_is_left_out_is_everything_that_is_installed() -> None:
    options = BenchOptions.of("deploy")
    assert options.runtimes == ("openvino", "torch")
    assert options.baselines is None
    assert (options.batches, options.budget_s) == ((1, 8), 600.0)
    assert [note.split()[0] for note in options.notes] == ["onnxruntime"]


def test_none_is_an_empty_list() -> None:
    options = BenchOptions.of("fq-vit", "none", "torch", "none")
    assert (options.uniform, options.baselines) == ({}, ())


@pytest.mark.parametrize("batches", ["0", [0], [], "1025", "one"])
def test_batches_that_are_none(batches: object) -> None:
    with pytest.raises(UserError, match="is no list"):
        BenchOptions.of("deploy", batches=batches)  # type: ignore[arg-type]
