"""Graphs of mixed arithmetic in both runtimes: the evaluator's numbers, integers on integer kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from format_cases import ASSIGNMENTS, case, prepared
from graph_cases import RUNTIMES, model_session
from quantized_cases import Bits, config_of

from bitfront.evaluators.deployment.graph.operands import DIALECTS

for runtime in RUNTIMES:
    pytest.importorskip(runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["vit", "swin", "dinov3", "inner norms"])
def test_logits_and_predictions(tmp_path: Path, name: str, runtime: str) -> None:
    model, images = prepared(name), case(name).images
    for bits in ASSIGNMENTS:
        config = config_of(model.blueprint, "deploy", bits, model.choices)
        wanted = model.assemble(config)(images)
        found = model_session(model, config, DIALECTS[runtime], runtime, tmp_path)
        got = torch.from_numpy(found(images.numpy()))
        assert (got - wanted).abs().mean() < 0.015 * wanted.std(0).mean(), bits


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("bits", "floats"),
    [
        # Of an encoder's six products: all four layers; all six; the two of attention; the last alone.
        (("bf16", 8, 8), 4),
        (("bf16", "bf16", "bf16"), 6),
        ((8, 8, "bf16"), 1),
        (("int4a", 8, 8), 0),
    ],
    ids=str,
)
def test_products_run_as_their_formats_are(tmp_path: Path, runtime: str, bits: Bits, floats: int) -> None:
    model = prepared("vit")
    config = config_of(model.blueprint, "deploy", bits)
    report = model_session(model, config, DIALECTS[runtime], runtime, tmp_path).kernels()
    assert report.total == 2 + 6 * len(model.blueprint.encoders)
    assert report.total - report.on_integers == floats * len(model.blueprint.encoders)
