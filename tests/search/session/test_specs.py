"""Evaluation specs from arguments and from bit configs: what they were found under, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.cli.options.specs import evaluation_spec, spec_changes
from bitfront.search.cli.parser import parse
from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.specs import (
    completed_spec,
    config_spec,
    read_config_document,
    recorded_evaluation,
    recorded_spec,
    spec_and_config,
)
from bitfront.spaces import BitConfig, Choices, EncoderBits, UserError

RECORDED = EvaluationSpec(
    scheme="fq-vit",
    model="deit_tiny_patch16_224",
    pretrained=True,
    seed=7,
    device="cuda:3",
    batch_size=128,
    threads=1,
)


def changes(*options: str) -> dict[str, Any]:
    return spec_changes(parse(["evaluate", *options]))


def test_arguments_become_a_spec() -> None:
    args = parse(
        ["search", "--model", "digits_deit", "--scheme", "deploy", "--device", "cuda",
         "--batch-size", "16", "--threads", "auto",
         "--recipe", "gptq", "--without", "fitted-ranges"]
    )  # fmt: skip
    assert evaluation_spec(args, (2, 4)) == EvaluationSpec(
        model="digits_deit",
        scheme="deploy",
        widths=(2, 4),
        device="cuda",
        batch_size=16,
        recipe="gptq",
        without=("fitted-ranges",),
    )


def test_a_record_keeps_what_was_searched_and_leaves_the_machine() -> None:
    found = recorded_spec(RECORDED.to_json(), changes("--seed", "8"))
    assert found == EvaluationSpec(
        scheme="fq-vit", model="deit_tiny_patch16_224", pretrained=True, seed=8, class_order="plain"
    )
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


CONFIG = BitConfig("digits_deit", "deploy", (EncoderBits(0, "blocks.0", 8, 4, 6),))
FOUND = EvaluationSpec(
    model="digits_deit", scheme="deploy", recipe="gptq", device="cuda:1", batch_size=64, threads=2, seed=3
)
DOCUMENT = CONFIG.to_json(provenance={"evaluation": FOUND.to_json()})


def test_a_config_keeps_what_it_was_found_under_and_leaves_the_machine() -> None:
    here = dataclasses.replace(
        FOUND, device="cpu", batch_size=None, threads=None, widths=(4, 6, 8), class_order="plain"
    )
    assert config_spec(DOCUMENT) == here
    assert config_spec(DOCUMENT, EvaluationSpec(model="digits_deit", scheme="fq-vit", seed=9)) == here
    assert config_spec(DOCUMENT, changes={"seed": 5, "threads": 1}) == dataclasses.replace(
        here, seed=5, threads=1
    )


@pytest.mark.parametrize("provenance", [None, {}, {"evaluation": None}])
def test_a_config_that_does_not_say_is_evaluated_as_asked(provenance: dict | None) -> None:
    document = CONFIG.to_json(provenance=provenance)
    assert recorded_evaluation(document) is None
    assert config_spec(document) == EvaluationSpec(model="digits_deit", scheme="deploy", widths=(4, 6, 8))
    asked = config_spec(document, EvaluationSpec(model="digits_deit", scheme="fq-vit", seed=9))
    assert (asked.seed, asked.scheme, asked.widths) == (9, "deploy", (4, 6, 8))


def test_configurations_are_prepared_in_their_own_formats() -> None:
    encoder = EncoderBits(0, "blocks.0", (("a", "int4a"), ("b", 8)), "bf16", 8)
    mixed = BitConfig("digits_deit", "deploy", (encoder,))
    found = config_spec(mixed.to_json())
    assert found.choices == Choices((8, "int4a"), ("bf16",), (8,))
    spec, triple = spec_and_config(None, "W8aA8Tbf16")
    assert (triple, spec.choices) == (("int8a", 8, "bf16"), Choices(("int8a",), (8,), ("bf16",)))
    # Plain widths are prepared for all kinds, as they always were.
    spec, triple = spec_and_config(None, "W4A8T8")
    assert (triple, spec.widths, spec.formats) == ((4, 8, 8), (4, 8), ())


def test_another_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="is for scheme deploy, not fq-vit: give --scheme deploy"):
        config_spec(DOCUMENT, changes={"scheme": "fq-vit"})


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "holds no JSON object"), ("{", "cannot be read as a bit config"), (None, "cannot be read")],
)
def test_files_that_are_no_config(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_config_document(path)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(DOCUMENT))
    assert read_config_document(path) == DOCUMENT


class TestWhatSuits:
    """Scheme and latency are settled before anything is loaded, and recorded as such."""

    def test_a_run_of_defaults_is_for_a_runtime_of_this_machine(self) -> None:
        spec, source = completed_spec(RunSpec())
        assert (spec.evaluation.model, spec.evaluation.data) == ("cluttered_deit", "cluttered")
        assert (spec.evaluation.scheme, spec.latency) == ("deploy", "measured:openvino")
        assert source.timer.source == "measured:openvino"
        assert RunSpec.from_json(spec.to_json()) == spec

    def test_what_is_asked_for_stays(self) -> None:
        asked = RunSpec(EvaluationSpec(model="digits_deit", scheme="deploy"), latency="model:bops")
        spec, _ = completed_spec(asked)
        assert (spec.evaluation.scheme, spec.latency) == ("deploy", "model:bops")
        spec, _ = completed_spec(RunSpec(latency="model:bops"))
        assert spec.evaluation.scheme == "fq-vit"

    def test_formats_that_are_not_plain_are_of_scheme_deploy(self) -> None:
        formats = ("weights=int4,int8a,bf16",)
        asked = RunSpec(EvaluationSpec(model="digits_deit", formats=formats), latency="model:bops")
        spec, _ = completed_spec(asked)
        assert (spec.evaluation.scheme, spec.evaluation.formats) == ("deploy", formats)
        integers = dataclasses.replace(asked.evaluation, scheme="fq-vit")
        with pytest.raises(
            UserError, match="takes plain integers alone, not int8a, bf16: use --scheme deploy"
        ):
            completed_spec(dataclasses.replace(asked, evaluation=integers))

    def test_plain_formats_of_kinds_are_of_any_scheme(self) -> None:
        asked = EvaluationSpec(model="digits_deit", formats=("weights=int4,int8", "activations=int8"))
        spec, _ = completed_spec(RunSpec(asked, latency="model:bops"))
        assert spec.evaluation.scheme == "fq-vit"

    @pytest.mark.parametrize(
        ("formats", "space", "said"),
        [
            (
                ("weights=int8", "activations=bf16", "attention=int8"),
                "layer",
                "at least two formats of a kind",
            ),
            (("weights=int8,bf16",), "encoder", "search kinds with formats of their own in space"),
            (("weights=int8,int9",), "layer", "'int9' is no format"),
        ],
    )
    def test_formats_that_cannot_be_searched(self, formats: tuple[str, ...], space: Any, said: str) -> None:
        asked = RunSpec(EvaluationSpec(model="digits_deit", formats=formats), space, latency="model:bops")
        with pytest.raises(UserError, match=said):
            completed_spec(asked)

    def test_an_unsettled_scheme_prepares_nothing(self) -> None:
        with pytest.raises(UserError, match="unknown scheme 'auto'"):
            EvaluationSpec().check()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_size": "1MB", "latency": "measured:openvino"}, "openvino"),
        ({"max_size": "1MB", "latency": "measured:onnxruntime"}, "onnx"),
        ({"max_size": "1MB", "latency": "measured:torch"}, ""),
        ({"latency": "measured:openvino"}, ""),
        ({"max_size": "1MB", "latency": "measured:openvino", "size_of": "packed"}, "packed"),
        ({"size_of": "onnx", "latency": "measured:torch"}, "onnx"),
    ],
)
def test_a_limit_bounds_the_files_of_the_runtime(options: dict[str, Any], expected: str) -> None:
    pytest.importorskip("openvino")
    evaluation = EvaluationSpec(model="digits_deit", scheme="deploy")
    spec, _ = completed_spec(RunSpec(evaluation, **options))
    assert spec.size_of == expected
    assert RunSpec.from_json(spec.to_json()) == spec


def test_sizes_of_graphs_are_for_a_scheme_that_has_graphs() -> None:
    evaluation = EvaluationSpec(model="digits_deit", scheme="fq-vit")
    with pytest.raises(UserError, match="--size-of onnx is for scheme deploy, not fq-vit"):
        completed_spec(RunSpec(evaluation, size_of="onnx", latency="model:bops"))
    with pytest.raises(UserError, match="unknown --size-of 'xml'"):
        completed_spec(RunSpec(evaluation, size_of="xml", latency="model:bops"))
