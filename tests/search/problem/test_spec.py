"""The run spec: its JSON form, its versions, its differences; durations."""

import dataclasses
import json
import subprocess
import sys

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.spec import RunSpec
from bitfront.spaces import UserError


def test_json_round_trip():
    spec = RunSpec(
        evaluation=EvaluationSpec(
            scheme="fq-vit",
            model="deit_tiny_patch16_224",
            widths=(2, 4, 8),
            recipe="gptq",
            without=("clipped-weights",),
        ),
        space="layer",
        objectives=("kl", "size"),
        max_latency="0.9x",
        max_drop=1.5,
        time_budget=90.0,
        seed=3,
        allow_uniform=True,
    )
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_confidence_survives_json_and_runs_of_before_have_the_usual_one():
    spec = RunSpec(max_drop=1.0, confidence=0.95)
    document = json.loads(json.dumps(spec.to_json()))
    assert document["confidence"] == 0.95
    assert RunSpec.from_json(document) == spec
    del document["confidence"]
    earlier = RunSpec.from_json(document)
    assert earlier.confidence == 0.8
    assert earlier.difference(spec) == ["confidence (0.8, not 0.95)"]
    with pytest.raises(UserError, match=r"confidence \(0\.8, not 0\.95\)"):
        earlier.check_resumed_as(spec, "earlier")


@pytest.mark.parametrize("share", [0.49, 1.0, 80.0, float("nan")])
def test_a_confidence_is_a_probability_of_at_least_a_half(share):
    RunSpec(confidence=0.5).check()
    with pytest.raises(UserError, match=r"--confidence .* give a probability from 0\.5 to below 1"):
        RunSpec(confidence=share).check()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"version": None},
        {"colour": "red"},
        {"evaluation": {}},
        {"objectives": [1.5, None]},
        {"objectives": "top1"},
        {"evaluations": "many"},
        {"population": 10**400},
        {"confidence": float("nan")},
        {"time_budget": [1]},
        {"max_latency": 3},
        {"min_metric": {"top1": 3}},
        {"space": ["layer"]},
        {"seed": ["x"] * 100_000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_foreign_documents_are_refused(change):
    with pytest.raises(UserError) as error:
        RunSpec.from_json({**RunSpec().to_json(), **change})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_specs_from_before_recipes_name_the_version_that_reads_them():
    document = RunSpec().to_json()
    evaluation = {k: v for k, v in document["evaluation"].items() if k not in ("recipe", "without")}
    earlier = {**evaluation, "weight_ranges": "mse", "weight_rounding": "gptq", "observer": "auto"}
    with pytest.raises(
        UserError, match=r"version 1, .* reads version 3: open the run with bitfront 0\.0\.9, or"
    ):
        RunSpec.from_json({**document, "version": 1, "bitfront": "0.0.9", "evaluation": earlier})


@pytest.mark.parametrize(
    ("field", "value"),
    [("threads", "2"), ("batch_size", 8.0), ("batch_size", True), ("device", None), ("device", 0),
     ("checkpoint", 1), ("pretrained", 1), ("recipe", None), ("observer", 1), ("seed", None),
     ("search_images", "all")],
)  # fmt: skip
def test_fields_of_another_type_are_named(field, value):
    with pytest.raises(TypeError, match=f"^{field} is {value!r}$"):
        EvaluationSpec.from_json(
            {**EvaluationSpec(model="digits_deit", scheme="fq-vit").to_json(), field: value}
        )


def test_a_spec_is_resolved_when_nothing_is_left_to_measure():
    assert not EvaluationSpec(model="digits_deit", scheme="fq-vit").resolved
    assert not EvaluationSpec(model="digits_deit", scheme="fq-vit", batch_size=8).resolved
    assert not EvaluationSpec(model="digits_deit", scheme="fq-vit", threads=2).resolved
    assert not EvaluationSpec(model="digits_deit", scheme="fq-vit", batch_size=8, threads=2).resolved
    assert EvaluationSpec(
        model="digits_deit", scheme="fq-vit", batch_size=8, threads=2, first_images=256
    ).resolved


@pytest.mark.parametrize(
    ("limits", "tell_apart"),
    [({}, 0.5), ({"max_drop": 1}, 1.0), ({"max_drop": ("2", "macro_f1=1.5")}, 1.5),
     ({"max_drop": "loss=0.01"}, 0.5), ({"min_top1": 70.0, "max_size": "4MB"}, 0.5)],
)  # fmt: skip
def test_search_images_tell_the_finest_drop_of_a_share(limits, tell_apart):
    spec = RunSpec(**limits)
    assert spec.evaluation.tell_apart == tell_apart
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_runs_of_earlier_versions_keep_their_images():
    document = RunSpec(max_drop=1.0).to_json()
    del document["evaluation"]["tell_apart"]
    assert RunSpec.from_json(document).evaluation.tell_apart is None


def test_difference_names_fields_with_both_values():
    one = RunSpec(seed=1, max_size="4MB", evaluation=EvaluationSpec(model="digits_deit", scheme="fq-vit"))
    other = RunSpec(
        seed=2, evaluation=EvaluationSpec(model="digits_deit", scheme="fq-vit", seed=5, widths=(4, 6, 8))
    )
    assert one.difference(other) == [
        "widths (4,8, not 4,6,8)",
        "seed (0, not 5)",
        "max_size (4MB, not none)",
        "search seed (1, not 2)",
    ]
    assert one.difference(one) == []


def test_extending_changes_budgets_alone():
    longer = RunSpec(seed=9, evaluations=500, time_budget=60.0)
    assert RunSpec(seed=1).extended(longer) == dataclasses.replace(
        RunSpec(seed=1), evaluations=500, time_budget=60.0
    )


def test_impossible_specs_are_refused_before_anything_is_loaded():
    for given, told in (
        ({"population": 1}, "--population 1 is too small: give at least 2"),
        (
            {"evaluation": EvaluationSpec(model="digits_deit", scheme="fq-vit", widths=(8,))},
            "--bits 8: a search needs at least two widths",
        ),
        ({"hold": "A8"} | {"space": "encoder"}, "one gene for each encoder sets all its kinds"),
        ({"hold": "A6"}, "cannot be fixed at 6 bits"),
        ({"max_size": "small"}, "--max-size 'small' is not a limit"),
    ):
        with pytest.raises(UserError, match=told):
            RunSpec(**given).check()
    assert RunSpec(hold="A8T4").fixed == (("activations", 8), ("attention", 4))


def test_light_modules_load_nothing_heavy():
    modules = (
        "problem.spec",
        "problem.objectives",
        "problem.limits",
        "problem.references",
        "runs.folder",
        "samplers.registry",
    )
    program = (
        f"import sys, importlib\n"
        f"for name in {modules!r}: importlib.import_module('bitfront.search.' + name)\n"
        f"print([m for m in ('torch', 'pymoo', 'optuna', 'pandas', 'distributed') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_switches_of_later_versions_are_written_where_they_are_set_alone():
    usual, lifted = RunSpec(), RunSpec(allow_slower=True)
    assert "allow_slower" not in usual.to_json()
    assert "allow_larger" not in lifted.to_json()
    assert RunSpec.from_json(json.loads(json.dumps(usual.to_json()))) == usual
    assert RunSpec.from_json(json.loads(json.dumps(lifted.to_json()))) == lifted
    assert lifted.difference(usual) == ["allow_slower (True, not False)"]
    assert usual.difference(lifted) == ["allow_slower (False, not True)"]
