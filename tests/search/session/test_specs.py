"""Evaluation specs from arguments and from the record in a bit config."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.cli.options.specs import evaluation_spec, spec_changes
from bitfront.search.cli.parser import parse
from bitfront.search.session.specs import recorded_spec
from bitfront.spaces import UserError

RECORDED = EvaluationSpec(
    model="deit_tiny_patch16_224", pretrained=True, seed=7, device="cuda:3", batch_size=128, threads=1
)


def changes(*options: str) -> dict[str, Any]:
    return spec_changes(parse(["evaluate", *options]))


def test_arguments_become_a_spec() -> None:
    args = parse(
        ["search", "--scheme", "deploy", "--device", "cuda", "--batch-size", "16", "--threads", "auto",
         "--recipe", "gptq", "--without", "fitted-ranges"]
    )  # fmt: skip
    assert evaluation_spec(args, (2, 4)) == EvaluationSpec(
        scheme="deploy",
        widths=(2, 4),
        device="cuda",
        batch_size=16,
        recipe="gptq",
        without=("fitted-ranges",),
    )


def test_a_record_keeps_what_was_searched_and_leaves_the_machine() -> None:
    found = recorded_spec(RECORDED.to_json(), changes("--seed", "8"))
    assert found == EvaluationSpec(model="deit_tiny_patch16_224", pretrained=True, seed=8)
    here = recorded_spec(RECORDED.to_json(), changes("--device", "cuda", "--threads", "2"))
    assert (here.device, here.batch_size, here.threads) == ("cuda", None, 2)


def test_a_record_keeps_its_recipe_unless_another_is_written() -> None:
    recorded = dataclasses.replace(
        RECORDED, recipe="gptq", without=("fitted-ranges",), observer="ema"
    ).to_json()

    def quantized(*options: str) -> tuple[str, tuple[str, ...], str | None]:
        found = recorded_spec(recorded, changes(*options))
        return found.recipe, found.without, found.observer

    assert quantized() == ("gptq", ("fitted-ranges",), "ema")
    assert quantized("--without", "log-base") == ("gptq", ("log-base",), "ema")
    assert quantized("--recipe", "best") == ("best", (), None)
    assert quantized("--recipe", "best", "--observer", "omse") == ("best", (), "omse")


def test_a_record_from_before_recipes_is_refused_in_one_line() -> None:
    recorded = {k: v for k, v in RECORDED.to_json().items() if k not in ("recipe", "without")}
    with pytest.raises(UserError, match="by an earlier version") as caught:
        recorded_spec({**recorded, "weight_ranges": "mse"}, changes())
    assert "\n" not in str(caught.value)


def test_paths_become_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "photos", "cifar"):
        (tmp_path / name).mkdir()
    (tmp_path / "w.safetensors").touch()
    written = [changes("--data", data)["data"] for data in ("digits", "photos", "cifar10:cifar", "nowhere")]
    assert written == ["digits", f"{tmp_path}/photos", f"cifar10:{tmp_path}/cifar", "nowhere"]
    assert changes("--checkpoint", "w.safetensors")["checkpoint"] == f"{tmp_path}/w.safetensors"
