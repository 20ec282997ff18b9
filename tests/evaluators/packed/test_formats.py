"""Packed files of models with floats and zero points: the same logits, and the size that was foretold."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from format_cases import ASSIGNMENTS, case, prepared
from quantized_cases import Bits, config_of

import bitfront.evaluators.packed.file as packed
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.packed.layout import PackedLayout, SizeModel
from bitfront.evaluators.packed.tensors import safetensors_bytes
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.spaces import UserError

BEST = recipe_named("best")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes one of the cases at an assignment."""

    def write(name: str, bits: Bits) -> tuple[Path, Any]:
        bare = copy.deepcopy(case(name).module).to("meta")
        monkeypatch.setattr(packed, "model_outline", lambda name, classes, architecture: bare)
        model = prepared(name)
        config = config_of(model.blueprint, "deploy", bits, model.choices)
        path = tmp_path / "m.safetensors"
        write_packed(path, model, config, BEST, config.to_json({}, {}))
        return path, config

    return write


@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
@pytest.mark.parametrize("name", ["vit", "dinov3"])
def test_what_is_read_computes_what_was_written(written: Any, name: str, bits: Bits) -> None:
    path, config = written(name, bits)
    model, images = prepared(name), case(name).images[:8]
    found = read_packed(path)
    assert found.config == config
    assert torch.equal(found.assemble()(images), model.assemble(config)(images))
    sites = trace_sites(model.blueprint, "deploy")
    layout = PackedLayout(model.blueprint, sites, "deploy", BEST, config)
    content = path.read_bytes()
    data = len(content) - 8 - int.from_bytes(content[:8], "little")
    assert data == sum(tensor.nbytes for tensor in layout.tensors())
    assert SizeModel(model.blueprint, sites, "deploy", BEST).size_bytes(config) == safetensors_bytes(
        layout.tensors()
    )


def test_sizes_are_those_of_the_formats(written: Any) -> None:
    sites = trace_sites(prepared("vit").blueprint, "deploy")
    model = SizeModel(prepared("vit").blueprint, sites, "deploy", BEST)
    weights = sum(site.elements for site in sites if site.kind == "weights" and not site.pinned)

    def size(bits: Bits) -> int:
        return model.size_bytes(config_of(prepared("vit").blueprint, "deploy", bits))

    # Headers, and four scales for each output channel, that floats have not.
    about = 0.2 * weights
    assert abs(size(("bf16", 8, 8)) - size((8, 8, 8)) - weights) < about
    assert abs(size(("bf16", 8, 8)) - size(("fp16", 8, 8))) < 0.01 * weights
    assert abs(size(("fp32", 8, 8)) - size(("bf16", 8, 8)) - 2 * weights) < 0.01 * weights
    assert 0 < size(("int8a", 8, 8)) - size((8, 8, 8)) < about
    assert abs(size(("int4a", 8, 8)) - size(("int8a", 8, 8)) + weights / 2) < 0.01 * weights


def test_zero_points_beyond_their_width_are_refused(written: Any) -> None:
    path, config = written("vit", ("int4a", 8, 8))
    model = read_packed(path)
    weight = model.layers[0, "attn.qkv"].quantized
    assert weight.zeros is not None
    assert int(weight.zeros.abs().max()) <= 8
    broken = dataclasses.replace(weight, zeros=weight.zeros + 100)
    layout = PackedLayout(model.blueprint, trace_sites(model.blueprint, "deploy"), "deploy", BEST, config)
    [packed_weight] = [w for w in layout.weights if w.site.name == "blocks.0.attn.qkv.weight"]
    from bitfront.evaluators.packed.bits import pack
    from bitfront.evaluators.packed.decoding import decode_weight

    name = packed_weight.site.name
    tensors = {
        name: pack(broken.codes, 4),
        f"{name}.scale": broken.scales,
        f"{name}.zero_point": broken.zeros,
        f"{name}.bias": model.layers[0, "attn.qkv"].bias,
    }
    with pytest.raises(UserError, match=r"zero_point holds .* expected -8 to 7"):
        decode_weight(packed_weight, tensors)
