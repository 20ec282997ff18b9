"""Packed files that are damaged, foreign or made up: one line says what is wrong, and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peculiar_cases import eva
from quantized_cases import WIDTHS, config_of
from safetensors.torch import load, save, save_file

from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.packed import file as packed
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.packed.header import LARGEST_HEADER
from bitfront.evaluators.preparation.calibrated_model import calibrate_model
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import UserError

Tensors = dict[str, torch.Tensor]


def content_of(name: str, scheme: str, folder: Path, module: torch.nn.Module | None = None) -> bytes:
    torch.manual_seed(3)
    blueprint = blueprint_of(name, (module or build_digits(name)).eval())
    images = torch.randn(8, *blueprint.image_shape)
    recipe = recipe_named("best")
    observer = observer_named(recipe.observer)
    found = calibrate_model(blueprint, lambda: [images], WIDTHS, recipe, observer, scheme, lambda share: None)
    layers, steps = found.layers, found.log_steps
    prepared = PreparedModel(
        found.blueprint, found.calibration, scheme, WIDTHS, "mse", layers, steps, keep_codes=True
    )
    config = config_of(blueprint, scheme, (4, 4, 4))
    write_packed(folder / "whole", prepared, config, recipe, config.to_json())
    return (folder / "whole").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of scheme fq-vit."""
    return content_of("digits_vit", "fq-vit", tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def floating(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of scheme deploy."""
    return content_of("digits_swin", "deploy", tmp_path_factory.mktemp("floating"))


def peculiar_module() -> torch.nn.Module:
    """Learned rotations, norms of all places and attention pooling."""
    torch.manual_seed(3)
    options = {"use_rot_pos_emb": True, "rope_type": "mixed", "scale_mlp": True, "scale_attn_inner": True}
    return eva(**options, qk_norm=True, global_pool="map", swiglu_mlp=True, use_pre_transformer_norm=True)


@pytest.fixture(scope="module")
def peculiar_content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of scheme deploy with tensors of every kind."""
    return content_of("peculiar", "deploy", tmp_path_factory.mktemp("peculiar"), peculiar_module())


@pytest.fixture
def peculiar(peculiar_content: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The same where its model, which no name is known of, has an outline."""
    with torch.device("meta"):
        outline = peculiar_module()
    monkeypatch.setattr(packed, "model_outline", lambda name, classes, architecture: outline)
    return peculiar_content


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Reads bytes as a file, and returns the reason in the error's one line."""

    def read(content: bytes) -> str:
        path = tmp_path / "file.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_packed(path)
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 500
        before, after = f"{path} is not a packed model that can be read: ", "; write it again with"
        assert message.startswith(before)
        assert after in message
        return message.removeprefix(before).rpartition(after)[0]

    return read


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(text: bytes, payload: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + payload


def altered(
    content: bytes,
    tensors: Callable[[Tensors], object] = lambda found: None,
    document: Callable[[dict[str, Any]], object] = lambda found: None,
) -> bytes:
    """The file with other tensors and another document, and a digest that agrees with them."""
    header, _ = header_of(content)
    values, described = load(content), json.loads(header["__metadata__"]["document"])
    tensors(values)
    document(described)
    described.pop("digest")
    text = json.dumps(described, separators=(",", ":"))
    described["digest"] = fingerprint({"document": text, "tensors": values})
    return with_document(json.dumps(described), values)


def with_document(text: str, tensors: Tensors) -> bytes:
    return save(tensors, metadata={"document": text})


def set_first(name: str, value: float) -> Callable[[Tensors], object]:
    def change(found: Tensors) -> None:
        found[name].view(-1)[0] = value

    return change


def test_what_is_not_altered_is_read(tmp_path: Path, whole: bytes, floating: bytes) -> None:
    for content in (whole, floating):
        (tmp_path / "m").write_bytes(altered(content))
        images = torch.zeros(1, *read_packed(tmp_path / "m").blueprint.image_shape)
        assert read_packed(tmp_path / "m").assemble()(images).isfinite().all()


@pytest.mark.parametrize("kept", [0, 5, 8, 9, 2000, -5000, -1])
def test_truncated_files(refused: Any, whole: bytes, kept: int) -> None:
    reason = refused(whole[:kept])
    assert "truncated" in reason


def test_files_with_more_behind(refused: Any, whole: bytes) -> None:
    assert "it is truncated or overwritten" in refused(whole + b"\0")


@pytest.mark.parametrize(
    "content", [b"\x80\x04\x95garbage of sixteen", b"PK\x03\x04" + bytes(200), b"\x7fELF" * 20, bytes(64)]
)
def test_foreign_files(refused: Any, content: bytes) -> None:
    assert "it is truncated, or not a safetensors file" in refused(content)


def test_a_checkpoint(refused: Any, tmp_path: Path) -> None:
    save_file({"head.weight": torch.zeros(3, 4)}, tmp_path / "checkpoint")
    reason = refused((tmp_path / "checkpoint").read_bytes())
    assert reason == "it is a safetensors file without the document of a packed model"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"no JSON", "its header is not JSON, or nested too deep"),
        (b"\xff\xfe{}", "its header is not JSON, or nested too deep"),
        (b"[" * 100_000 + b"]" * 100_000, "its header is not JSON, or nested too deep"),
        (b'{"a": 1' + b"0" * 10_000 + b"}", "its header is not JSON, or nested too deep"),
        (b"[]", "its header is not a JSON object"),
        (b'{"__metadata__": 3}', "it is a safetensors file without the document of a packed model"),
        (b'{"__metadata__": {"document": 3}}', "without the document of a packed model"),
    ],
)
def test_headers(refused: Any, text: bytes, reason: str) -> None:
    assert reason in refused(with_header(text, bytes(100)))


def test_a_huge_header(refused: Any, tmp_path: Path) -> None:
    length = LARGEST_HEADER + 1
    assert f"its header has {length} bytes; expected at most" in refused(
        length.to_bytes(8, "little") + b" " * length
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(format="bitfront/bit-config"), "its document has no format 'bitfront/packed'"),
        (lambda d: d.update(version=2), "its version is 2; expected 1"),
        (lambda d: d.update(version="1" * 500), "expected 1"),
        (lambda d: d.update(model="resnet50"), "resnet50 cannot be quantized: it is a ResNet"),
        (lambda d: d.update(model="nothing_like_it"), "unknown model 'nothing_like_it'"),
        (lambda d: d.update(model="hf-hub:timm/deit_tiny"), "unknown model 'hf-hub:timm/deit_tiny'"),
        (lambda d: d.update(model="a\nb"), r"its model is 'a\nb'"),
        (lambda d: d.update(model=["digits_vit"]), "its model is"),
        (lambda d: d.update(model="digits_deit"), "the bit config has 6 encoders, but digits_deit has 12"),
        (lambda d: d.update(classes=11), "its tensor head.0.weight is U8 [480]; expected U8 [528]"),
        (lambda d: d.update(classes=0), "it has 0 classes; expected 1 or more"),
        (lambda d: d.update(classes=True), "it has True classes"),
        (lambda d: d.update(classes=10**100), "it has more classes than its"),
        (lambda d: d.update(recipe=None), "it does not say which recipe"),
        (lambda d: d.update(ingredients="best"), "it does not say which recipe"),
        (lambda d: d.update(ingredients=[["log-base"]]), "unknown ingredient ['log-base']"),
        (
            lambda d: d["ingredients"].remove("log-base"),
            "a tensor 'log_steps', which its configuration does not",
        ),
        (lambda d: d.update(config=None), "it has no bit config"),
        (lambda d: d["config"].update(version=7), "bit config version 7 is not supported"),
        (lambda d: d["config"].update(scheme="other"), "scheme 'other' is unknown"),
        (lambda d: d["config"]["encoders"].pop(), "the bit config has 5 encoders, but digits_vit has 6"),
        (
            lambda d: d["config"]["encoders"][1].update(name="a\x1b[31m\nb"),
            "names an encoder a?[31m b, where",
        ),
        (lambda d: d["config"]["encoders"][1].update(weights=16), "encoders[1].weights is 16; expected"),
        (
            lambda d: d["config"]["encoders"][1].update(weights={"attn.qkv": 8, "mlp.fc1": 4}),
            "no weights bits for layer",
        ),
        (lambda d: d["config"]["encoders"][1].update(weights={"fc9": 8, "fc8": 4}), "has no layer fc8, fc9"),
        (lambda d: d["config"]["encoders"][1].update(weights=8), "expected U8 ["),
        (
            lambda d: d["config"].update(pinned={"embedding": 4, "head": 8, "residual": 8, "scores": 8}),
            "pins",
        ),
    ],
)
def test_documents(refused: Any, whole: bytes, change: Any, reason: str) -> None:
    assert reason in refused(altered(whole, document=change))


@pytest.mark.parametrize("text", ["", "no JSON", "[" * 100_000, "[1]", "3", "null", '{"format": "other"}'])
def test_documents_that_are_none(refused: Any, whole: bytes, text: str) -> None:
    assert refused(with_document(text, load(whole))).startswith("its document ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("norm.weight"), "it has no tensor norm.weight, which its configuration has"),
        (lambda t: t.update(more=torch.zeros(2)), "it has a tensor 'more', which its configuration does not"),
        (lambda t: t.update(positions=t["positions"].flatten()), "its tensor positions is U8 ["),
        (
            lambda t: t.update({"norm.bias": t["norm.bias"].double()}),
            "its tensor norm.bias is F64 [48]; expected F32",
        ),
        (set_first("norm.bias", torch.nan), "its tensor norm.bias holds NaN or infinity"),
        (set_first("head.0.weight.bias", torch.inf), "its tensor head.0.weight.bias holds NaN or infinity"),
        (set_first("blocks.0.norm1.scale", 0.0), "its tensor blocks.0.norm1.scale holds 0 to 0; expected"),
        (set_first("blocks.0.attn.scores.scale", 1e-20), "its tensor blocks.0.attn.scores.scale holds 1e-20"),
        (set_first("blocks.0.attn.scores.scale", 1e30), "its tensor blocks.0.attn.scores.scale holds 1e+30"),
        (
            set_first("blocks.0.attn.qkv.weight.scale", -1.0),
            "its tensor blocks.0.attn.qkv.weight.scale holds -1",
        ),
        (set_first("blocks.1.residual1.exponents", 4), "its tensor blocks.1.residual1.exponents holds"),
        (set_first("blocks.1.attn.softmax.zero_point", 16), "zero_point holds 16 to 16; expected 0 to 15"),
        (set_first("levels", 255), "its levels of blocks.0.norm1 are not in ascending order"),
        (set_first("log_steps", 0.0), "its tensor log_steps holds 0 to"),
        (set_first("log_steps", 5.0), "its tensor log_steps holds"),
        (set_first("score_scales", -torch.inf), "its tensor score_scales holds NaN or infinity"),
    ],
)
def test_tensors(refused: Any, whole: bytes, change: Any, reason: str) -> None:
    assert reason in refused(altered(whole, change))


# Of every kind of tensor that some encoders and readouts have beside the plain ones.
OF_PECULIARITIES = (
    "embed_norm.weight",
    "blocks.0.attn.frequencies",
    "blocks.0.attn.q_norm.weight",
    "blocks.1.attn.k_norm.bias",
    "blocks.0.attn.norm.weight",
    "blocks.1.mlp.norm.bias",
    "pool.query",
    "pool.norm.weight",
    "pool.kv.weight.bias",
)


def test_what_peculiar_models_have_is_read(tmp_path: Path, peculiar: bytes) -> None:
    (tmp_path / "m").write_bytes(altered(peculiar))
    images = torch.zeros(1, *read_packed(tmp_path / "m").blueprint.image_shape)
    assert read_packed(tmp_path / "m").assemble()(images).isfinite().all()
    assert set(OF_PECULIARITIES) <= set(load(peculiar))


@pytest.mark.parametrize("name", OF_PECULIARITIES)
def test_tensors_of_peculiar_models(refused: Any, peculiar: bytes, name: str) -> None:
    def flattened(found: Tensors) -> None:
        found[name] = torch.cat([found[name].flatten(), torch.zeros(1)])

    assert refused(altered(peculiar, lambda t: t.pop(name))).startswith(f"it has no tensor {name}, which its")
    assert f"its tensor {name} is F32 [" in refused(altered(peculiar, flattened))
    reason = refused(altered(peculiar, set_first(name, torch.nan)))
    assert reason == f"its tensor {name} holds NaN or infinity"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_first("pool.fc1.weight.scale", -1.0), "its tensor pool.fc1.weight.scale holds -1"),
        (set_first("pool.context.scale", 0.0), "its tensor pool.context.scale holds 0 to 0; expected"),
        (lambda t: t.pop("pooled.zero_point"), "it has no tensor pooled.zero_point"),
    ],
)
def test_grids_of_peculiar_models(refused: Any, peculiar: bytes, change: Any, reason: str) -> None:
    assert reason in refused(altered(peculiar, change))


def test_shapes_that_are_no_shapes(refused: Any, whole: bytes) -> None:
    header, payload = header_of(whole)
    for entry in (
        None,
        3,
        [],
        {},
        {"dtype": "F32"},
        {"dtype": "F32", "shape": "all"},
        {"dtype": {}, "shape": {}},
    ):
        text = json.dumps({**header, "norm.bias": entry}).encode()
        assert "its tensor norm.bias is " in refused(with_header(text, payload))


@pytest.mark.parametrize("offsets", [[0, 10**18], [-4, 188], [8, 200], "all", [0], None])
def test_offsets_that_lead_elsewhere(refused: Any, whole: bytes, offsets: object) -> None:
    header, payload = header_of(whole)
    header["norm.bias"]["data_offsets"] = offsets
    reason = refused(with_header(json.dumps(header).encode(), payload))
    assert reason.startswith("it is not a valid safetensors file (")


@pytest.mark.parametrize("change", [lambda d: d.pop("digest"), lambda d: d.update(digest="0" * 64)])
def test_digests(refused: Any, whole: bytes, change: Any) -> None:
    document = json.loads(header_of(whole)[0]["__metadata__"]["document"])
    change(document)
    content = with_document(json.dumps(document), load(whole))
    assert refused(content) == "its content differs from its digest: it is damaged"


@pytest.mark.parametrize("what", ["config", "norm.bias"])
def test_changes_that_the_digest_tells(refused: Any, whole: bytes, what: str) -> None:
    document, tensors = json.loads(header_of(whole)[0]["__metadata__"]["document"]), load(whole)
    if what == "config":
        document["config"]["measured"] = {"top1": 99.9}
    else:
        tensors[what][0] += 1.0
    assert "differs from its digest" in refused(with_document(json.dumps(document), tensors))


def test_bits_that_flip(refused: Any, whole: bytes) -> None:
    generator = np.random.default_rng(0)
    length = int.from_bytes(whole[:8], "little")
    places = [*generator.integers(8, 8 + length, 30), *generator.integers(8 + length, len(whole), 30)]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(generator.integers(8))
        refused(bytes(content))


def test_a_small_file_does_not_make_a_large_model(tmp_path: Path, whole: bytes, refused: Any) -> None:
    """A billion parameters are asked for, and refused before room for them is made."""
    names = [f"blocks.{index}" for index in range(40)]
    entry = {"weights": 8, "activations": 8, "attention": 8}
    encoders = [{"index": i, "name": name, **entry} for i, name in enumerate(names)]

    def change(document: dict[str, Any]) -> None:
        document.update(model="vit_giant_patch14_clip_224", classes=10)
        document["config"].update(encoders=encoders)

    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(altered(whole, document=change))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UserError, match=r"^no such file: .*; expected a packed model, written by"):
            read_packed(path)
    with pytest.raises(UserError, match=r"^cannot read .*: File name too long; expected a packed model$"):
        read_packed(tmp_path / ("n" * 300))
