"""Schemes and latency sources that suit one another where one is left open."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency import registry
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.measured import load_shapes
from bitfront.evaluators.latency.registry import settled
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.table_file import table_csv
from bitfront.spaces import UserError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Makes some runtimes the installed ones."""
    monkeypatch.setattr(registry, "runtime_is_installed", lambda name: name in request.param)


BOTH, ONE, NONE = ("openvino", "onnxruntime"), ("onnxruntime",), ()


@pytest.mark.parametrize(
    ("installed", "scheme", "latency", "expected"),
    [
        # what runs on this machine is searched for this machine
        (BOTH, "auto", "auto", ("deploy", "measured:openvino")),
        (ONE, "auto", "auto", ("deploy", "measured:onnxruntime")),
        (NONE, "auto", "auto", ("fq-vit", "measured")),
        # one follows the other
        (BOTH, "auto", "measured:onnxruntime", ("deploy", "measured:onnxruntime")),
        (BOTH, "auto", "measured:torch", ("fq-vit", "measured:torch")),
        (BOTH, "auto", "measured", ("fq-vit", "measured")),
        (BOTH, "auto", "model:bitfusion", ("fq-vit", "model:bitfusion")),
        (BOTH, "fq-vit", "auto", ("fq-vit", "measured")),
        (BOTH, "deploy", "auto", ("deploy", "measured:openvino")),
        (NONE, "deploy", "auto", ("deploy", "measured")),
        # what is asked for stays, and is judged later
        (BOTH, "fq-vit", "measured:openvino", ("fq-vit", "measured:openvino")),
        (BOTH, "deploy", "model:bops", ("deploy", "model:bops")),
        (BOTH, "auto", "abacus:9", ("fq-vit", "abacus:9")),
    ],
    indirect=["installed"],
)
def test_each_suits_the_other(installed: None, scheme: str, latency: str, expected: tuple[str, str]) -> None:
    assert settled(scheme, latency) == expected


@pytest.mark.parametrize("scheme", ["deploy", "fq-vit"])
def test_a_table_says_its_scheme(tmp_path: Path, scheme: str) -> None:
    spec = EvaluationSpec(model="digits_deit", scheme=scheme)
    _, blueprint = load_shapes(spec)
    path = tmp_path / "t.csv"
    path.write_text(table_csv(model_table(profile_named("bops"), blueprint, spec.widths, scheme, 1)))
    assert settled("auto", f"table:{path}") == (scheme, f"table:{path}")
    with pytest.raises(UserError, match="absent"):
        settled("auto", f"table:{tmp_path / 'absent.csv'}")
