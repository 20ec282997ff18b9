"""Evaluation specs from arguments and from the record in a bit config."""

from __future__ import annotations

from bitfront.evaluators.spec import EvaluationSpec
from bitfront.search.cli.parser import parse
from bitfront.search.commands.evaluation_spec import evaluation_spec, recorded_spec

RECORDED = EvaluationSpec(
    model="deit_tiny_patch16_224", pretrained=True, seed=7, device="cuda:3", batch_size=128, threads=1
)


def test_arguments_become_a_spec() -> None:
    args = parse(
        ["search", "--scheme", "deploy", "--device", "cuda", "--batch-size", "16", "--threads", "auto"]
    )
    assert evaluation_spec(args, (2, 4)) == EvaluationSpec(
        scheme="deploy", widths=(2, 4), device="cuda", batch_size=16
    )


def test_a_record_keeps_what_was_searched_and_leaves_the_machine() -> None:
    found = recorded_spec(RECORDED.to_json(), parse(["evaluate", "--seed", "8"]))
    assert found == EvaluationSpec(model="deit_tiny_patch16_224", pretrained=True, seed=8)
    here = recorded_spec(RECORDED.to_json(), parse(["evaluate", "--device", "cuda", "--threads", "2"]))
    assert (here.device, here.batch_size, here.threads) == ("cuda", None, 2)
