"""Limits and objectives: units, relative values, violations and limits that nobody can meet."""

import dataclasses
import math

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.limits import Limit, check_achievable, paper_limits
from bitfront.search.problem.objectives import parse_objectives
from bitfront.search.problem.references import Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.spaces import UserError

REFERENCES = References(
    Reference("float32", 20.0, 4_000_000, {"top1": 90.0}, classes=10), Reference("W8A8T8", 15.0, 1_000_000)
)


def limits(**given):
    return {asked.name: asked.against(REFERENCES.float_model) for asked in RunSpec(**given).limits}


@pytest.mark.parametrize(
    ("text", "threshold"), [("12ms", 12.0), ("0.9x", 18.0), ("1.5s", 1500.0), ("800us", 0.8), ("12 MS", 12.0)]
)
def test_latency_limits(text, threshold):
    assert limits(max_latency=text)["max_latency"].threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("4MB", 4e6), ("0.6x", 2.4e6), ("300kB", 3e5), ("1.2MiB", 1.2 * 2**20), ("4096b", 4096), ("1GB", 1e9)],
)
def test_size_limits(text, threshold):
    assert limits(max_size=text)["max_size"].threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    "given", [{"max_latency": t} for t in ("12", "ms", "12MB", "-1ms", "0ms", "1e3ms", "nanms")]
)
def test_unreadable_latencies_are_refused(given):
    with pytest.raises(UserError, match=r"--max-latency .* is not a limit: write 12ms"):
        RunSpec(**given).check()


@pytest.mark.parametrize("given", [{"max_size": "4"}, {"max_size": "4ms"}, {"max_size": "MB"}])
def test_unreadable_sizes_are_refused(given):
    with pytest.raises(UserError, match=r"--max-size .* is not a limit: write 4MB"):
        RunSpec(**given).check()


@pytest.mark.parametrize(
    "given", [{"min_top1": 101}, {"min_top1": -1}, {"max_drop": -0.5}, {"min_top1": math.nan}]
)
def test_impossible_accuracies_are_refused(given):
    with pytest.raises(UserError, match="from 0 to 100"):
        RunSpec(**given).check()


def test_violations_are_relative_and_signed():
    found = limits(max_latency="10ms", max_size="1MB", min_top1=80.0, max_drop=2.0)
    values = {"latency_ms": 12.0, "size_bytes": 500_000, "top1": 84.0}
    violations = {name: limit.violation(values) for name, limit in found.items()}
    assert violations["max_latency"] == pytest.approx(0.2)
    assert violations["max_size"] == pytest.approx(-0.5)
    assert violations["min_top1"] == pytest.approx(-0.05)
    assert violations["max_drop"] == pytest.approx(4 / 88)
    assert found["max_drop"].violation({"top1": math.nan}) > 1e3
    assert {name: limit.analytic for name, limit in found.items()} == {
        "max_latency": True,
        "max_size": True,
        "min_top1": False,
        "max_drop": False,
    }


def test_paper_constraints():
    faster, smaller = paper_limits(REFERENCES)
    assert (faster.name, faster.violation({"latency_ms": 25.0})) == ("faster_than_float", pytest.approx(0.25))
    assert (smaller.name, smaller.violation({"size_bytes": 900_000})) == (
        "at_most_8bit_size",
        pytest.approx(-0.1),
    )


def test_limits_out_of_reach_name_the_nearest_value():
    minima = {"latency_ms": 9.0, "size_bytes": 512_345.0}
    check_achievable(tuple(limits(max_latency="9ms", max_size="0.5x", min_top1=99).values()), minima)
    with pytest.raises(
        UserError, match=r"--max-size 500kB .*nearest achievable .* 512,345 bytes; raise --max-size"
    ):
        check_achievable(tuple(limits(max_size="500kB").values()), minima)
    with pytest.raises(UserError, match=r"--max-latency 0.4x \(8 ms\) cannot be met: .* 9 ms"):
        check_achievable(tuple(limits(max_latency="0.4x").values()), minima)
    with pytest.raises(UserError, match=r"constraint 3 .* search with --latency model:bops"):
        check_achievable(paper_limits(REFERENCES), {"latency_ms": 21.0})
    with pytest.raises(UserError, match=r"constraint 4 .* allow narrower weights with --bits"):
        check_achievable(paper_limits(REFERENCES), {"size_bytes": 1_000_001.0})


def test_an_accuracy_limit_of_zero_has_a_finite_violation():
    assert math.isfinite(Limit("min_top1", "top1", "at least", 0.0, "").violation({"top1": 1.0}))


def test_a_relative_quantity_takes_the_reference():
    [asked] = RunSpec(max_size="0.25X").limits
    assert not asked.absolute
    assert asked.against(Reference("float32", 1.0, 400)).threshold == 100.0


def test_an_unmeasured_reference_is_told():
    [asked] = RunSpec(max_drop=1.0).limits
    with pytest.raises(ValueError, match="--max-drop 1 needs the float model's top1 on the search split"):
        asked.against(Reference("float32", 1.0, 400))


def test_objectives_by_name():
    top1, size = parse_objectives("top1, size")
    assert top1.minimised({"top1": 90.0}) == -90.0
    assert size.minimised({"size_bytes": 7}) == 7
    assert math.isnan(size.minimised({}))


@pytest.mark.parametrize("names", ["", "top1,", "speed", "top1,top1", []])
def test_wrong_objectives_are_refused(names):
    with pytest.raises(
        UserError, match="among top1, latency, size, energy, top5, loss, kl, agreement, macro_f1, "
    ):
        parse_objectives(names)


def test_limits_round_trip_and_those_of_earlier_versions_are_read() -> None:
    limit = Limit("max_size", "size_bytes", "at most", 4e6, "--max-size 4MB")
    assert list(limit.to_json()) == ["name", "column", "side", "bound", "text", "unit", "relative"]
    for known in (limit, dataclasses.replace(limit, relative=True)):
        assert Limit.from_json(known.to_json()) == known
    earlier = {"name": "max_drop", "column": "top1", "bound": 97.5}
    assert Limit.from_json(earlier) == Limit("max_drop", "top1", "at least", 97.5, "")


def test_limits_on_any_metric() -> None:
    spec = RunSpec(
        min_metric=("macro_f1=70",), max_metric="loss=0.5", max_drop=["macro_f1=1.5", "kl=0.1", "2"]
    )
    assert spec.evaluation.metrics == ("macro_f1",), "what is limited is measured"
    base = Reference("float32", 1.0, 400, {"top1": 90.0, "macro_f1": 80.0, "kl": 0.0, "loss": 0.3})
    found = {limit.name: limit for limit in (asked.against(base) for asked in spec.limits)}
    assert {name: (limit.side, limit.threshold) for name, limit in found.items()} == {
        "min_macro_f1": ("at least", 70.0),
        "max_loss": ("at most", 0.5),
        "max_drop_macro_f1": ("at least", 78.5),
        "max_drop_kl": ("at most", 0.1),
        "max_drop": ("at least", 88.0),
    }
    assert found["max_loss"].label == "--max loss=0.5"
    assert found["max_loss"].describe(0.25) == "0.25 nats"
    assert found["min_macro_f1"].violation({"macro_f1": 35.0}) == 0.5
    assert RunSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"min_metric": "macro_f1"},
            "--min 'macro_f1' is no bound: write --min METRIC=VALUE, such as macro_f1=70",
        ),
        ({"min_metric": "macro_f1=nan"}, "--min 'macro_f1=nan' is no bound"),
        ({"min_metric": "f2=3"}, "unknown metric 'f2' of task classification: choose among top1, "),
        ({"min_metric": "loss=3"}, "--min loss=3: smaller values of loss are better: give --max loss=VALUE"),
        (
            {"max_metric": "roc_auc=3"},
            "--max roc_auc=3: larger values of ROC-AUC are better: give --min roc_auc",
        ),
        ({"min_metric": "roc_auc=101"}, "--min roc_auc=101 cannot be met: give percent, from 0 to 100"),
        ({"max_drop": "macro_f1=-1"}, "--max-drop macro_f1=-1 cannot be met: give percentage points"),
    ],
)
def test_limits_that_no_metric_could_meet_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        RunSpec(**settings).limits  # noqa: B018 - reading them raises
    assert message in str(caught.value)


def test_objectives_are_metrics_of_the_task() -> None:
    spec = RunSpec(objectives="macro_f1,sensitivity:3,size")
    assert spec.objectives == ("macro_f1", "sensitivity:3", "size")
    assert spec.evaluation.metrics == ("macro_f1", "sensitivity:3")
    [first, *_] = parse_objectives(spec.objectives)
    assert (first.direction, first.unit, first.span(10)) == ("maximise", "%", (100.0, 0.0))
    assert RunSpec().objectives == ("top1", "latency", "size")
    assert RunSpec(
        evaluation=EvaluationSpec(model="digits_deit", scheme="fq-vit", task="multilabel")
    ).objectives == ("map", "latency", "size")


@pytest.mark.parametrize("text", ["macro_f1=abc", "macro_f1=1pt", "one", "", "=3", "macro_f1=inf"])
def test_a_drop_that_cannot_be_read_is_no_limit_that_is_left_out(text: str) -> None:
    with pytest.raises(UserError, match="is no bound: write --max-drop METRIC=VALUE"):
        RunSpec(max_drop=text)


def test_what_is_bounded_twice_is_refused() -> None:
    for settings in ({"min_metric": ("macro_f1=70", "macro_f1=60")}, {"max_drop": ["1", "top1=2"]}):
        with pytest.raises(UserError, match="twice"):
            RunSpec(**settings)
    with pytest.raises(UserError, match="--min-top1 80 and --min top1=70: give one of them"):
        RunSpec(min_top1=80.0, min_metric="top1=70")
    assert len(RunSpec(min_top1=80.0, max_drop=1.0).limits) == 2


def test_limits_of_costs_have_their_units() -> None:
    [asked] = RunSpec(max_latency="12ms").limits
    assert asked.unit == "ms"
