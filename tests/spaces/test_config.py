"""Bit configurations: JSON form, digest, layer-wise widths, refusals."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest

from bitfront.spaces import BitConfig, Choices, EncoderBits, EncoderLayers, UserError
from bitfront.spaces.config import collapse
from bitfront.spaces.schemes import SCHEMES, pinned_bits

CONFIG = BitConfig(
    "tiny",
    "fq-vit",
    (
        EncoderBits(0, "blocks.0", 4, 8, 4),
        EncoderBits(1, "blocks.1", (("attn.qkv", 4), ("mlp.fc1", 8)), 8, 8),
    ),
)
CANONICAL = (
    '{"encoders":['
    '{"activations":8,"attention":4,"index":0,"name":"blocks.0","weights":4},'
    '{"activations":8,"attention":8,"index":1,"name":"blocks.1","weights":{"attn.qkv":4,"mlp.fc1":8}}],'
    '"model":"tiny","pinned":{"embedding":8,"head":8,"residual":8,"scores":8},"scheme":"fq-vit"}'
)


def document() -> dict[str, Any]:
    return copy.deepcopy(CONFIG.to_json())


def test_json_form() -> None:
    assert CONFIG.to_json({"top1": 79.5}, {"run": "r"}) == {
        "format": "bitfront/bit-config",
        "version": 1,
        "model": "tiny",
        "scheme": "fq-vit",
        "encoders": [
            {"index": 0, "name": "blocks.0", "weights": 4, "activations": 8, "attention": 4},
            {
                "index": 1,
                "name": "blocks.1",
                "weights": {"attn.qkv": 4, "mlp.fc1": 8},
                "activations": 8,
                "attention": 8,
            },
        ],
        "pinned": {"embedding": 8, "residual": 8, "scores": 8, "head": 8},
        "measured": {"top1": 79.5},
        "provenance": {"run": "r"},
    }


def test_json_round_trip() -> None:
    again = BitConfig.from_json(json.loads(json.dumps(CONFIG.to_json({"top1": 1.0}))))
    assert again == CONFIG
    assert again.digest == CONFIG.digest


def test_the_digest_is_that_of_the_canonical_json() -> None:
    assert CONFIG.digest == hashlib.sha256(CANONICAL.encode()).hexdigest()[:12]
    # Recorded in studies and exports: it may never change.
    assert CONFIG.digest == "ff6bf7fd6188"


def test_the_digest_ignores_what_was_measured_and_notes_what_was_assigned() -> None:
    assert BitConfig.from_json(CONFIG.to_json({"top1": 3.0}, {"seed": 1})).digest == CONFIG.digest
    digests = {CONFIG.digest}
    for path, value in [
        (("encoders", 0, "weights"), 8),
        (("encoders", 0, "activations"), 4),
        (("encoders", 1, "attention"), 4),
        (("encoders", 1, "weights", "mlp.fc1"), 5),
        (("model",), "other"),
        (("pinned", "head"), 4),
    ]:
        changed: Any = document()
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        digests.add(BitConfig.from_json(changed).digest)
    digests.add(BitConfig("tiny", "deploy", CONFIG.encoders).digest)
    assert len(digests) == 8


def test_pinned_widths_default() -> None:
    changed = document()
    del changed["pinned"]
    assert BitConfig.from_json(changed) == CONFIG


def test_pinned_widths_are_those_of_the_scheme() -> None:
    deploy = BitConfig("tiny", "deploy", CONFIG.encoders)
    assert dict(deploy.pinned) == {"embedding": 8, "head": 8}
    assert dict(CONFIG.pinned) == {"embedding": 8, "head": 8, "residual": 8, "scores": 8}
    assert all(list(pairs) == sorted(pairs) for pairs in (scheme.pinned for scheme in SCHEMES.values()))
    again = BitConfig.from_json(json.loads(json.dumps(deploy.to_json())))
    assert (again, hash(again), again.digest) == (deploy, hash(deploy), deploy.digest)


def test_pinned_widths_of_another_scheme_are_refused() -> None:
    changed = document()
    changed["scheme"] = "deploy"
    with pytest.raises(UserError, match=r'"pinned" must have the groups of scheme deploy: embedding, head$'):
        BitConfig.from_json(changed)


def test_unknown_schemes_are_refused() -> None:
    for make in (lambda: pinned_bits("int8"), lambda: BitConfig("tiny", "int8", CONFIG.encoders)):
        with pytest.raises(UserError, match=r"unknown scheme 'int8': choose one of fq-vit, deploy$"):
            make()


def test_layer_maps_that_agree_are_one_number() -> None:
    assert collapse({"a": 4, "b": 4}) == 4
    assert collapse({"a": 4, "b": 8}) == (("a", 4), ("b", 8))
    changed = document()
    changed["encoders"][0]["weights"] = {"attn.qkv": 4, "mlp.fc1": 4}
    assert BitConfig.from_json(changed) == CONFIG


def test_layer_maps_in_another_order_are_equal() -> None:
    changed = document()
    changed["encoders"][1]["weights"] = {"mlp.fc1": 8, "attn.qkv": 4}
    again = BitConfig.from_json(changed)
    assert (again, again.digest) == (CONFIG, CONFIG.digest)


def test_named_layers() -> None:
    mixed = EncoderBits(0, "b", (("a", 2), ("c", 3)), (("a", 2), ("d", 3)), 6)
    assert [bits.named_layers() for bits in (*CONFIG.encoders, mixed)] == [
        set(),
        {"attn.qkv", "mlp.fc1"},
        {"a", "c", "d"},
    ]


def test_widths_of_layers() -> None:
    first, second = CONFIG.encoders
    assert [first.bits("weights", layer) for layer in ("attn.qkv", "mlp.fc1")] == [4, 4]
    assert [second.bits("weights", layer) for layer in ("attn.qkv", "mlp.fc1")] == [4, 8]
    assert (first.bits("attention", "attn"), second.bits("attention", "attn")) == (4, 8)
    assert CONFIG.formats() == Choices((4, 8), (8,), (4, 8))
    mixed = BitConfig("m", "fq-vit", (EncoderBits(0, "b", (("a", 2), ("c", 3)), 5, 6),))
    assert mixed.formats() == Choices((2, 3), (5,), (6,))


def test_formats_that_are_not_plain_go_by_name() -> None:
    encoder = EncoderBits(0, "b", (("a", "int4a"), ("c", 8)), "bf16", 8)
    config = BitConfig("m", "deploy", (encoder,))
    assert config.formats() == Choices((8, "int4a"), ("bf16",), (8,))
    document = json.loads(json.dumps(config.to_json()))
    assert document["encoders"][0]["weights"] == {"a": "int4a", "c": 8}
    again = BitConfig.from_json(document)
    assert again == config
    assert again.digest == config.digest
    document["encoders"][0]["attention"] = "int8a"
    with pytest.raises(UserError, match="attention is 'int8a'"):
        BitConfig.from_json(document)


def test_uniform() -> None:
    layers = [EncoderLayers(i, f"blocks.{i}", ("attn.qkv",)) for i in range(2)]
    assert BitConfig.uniform("m", "fq-vit", layers, (4, 8, 3)) == BitConfig(
        "m", "fq-vit", (EncoderBits(0, "blocks.0", 4, 8, 3), EncoderBits(1, "blocks.1", 4, 8, 3))
    )


@pytest.mark.parametrize("content", [None, [], "text", {}, {"format": "other"}])
def test_other_documents_are_refused(content: object) -> None:
    with pytest.raises(UserError, match='not a bit config: expected a JSON object with "format"'):
        BitConfig.from_json(content)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("version",), 2, "version 2 is not supported: expected 1; export it again"),
        (("version",), None, "version None is not supported"),
        (("model",), 3, '"model" and "scheme" must be strings'),
        (("scheme",), None, '"model" and "scheme" must be strings'),
        (("scheme",), "int8", "scheme 'int8' is unknown: expected fq-vit or deploy$"),
        (("encoders",), {}, '"encoders" must be a list with one entry for each encoder'),
        (("encoders",), [], '"encoders" must be a list with one entry for each encoder'),
        (("encoders", 1), 4, r"encoders\[1\] must be an object"),
        (
            ("encoders", 1, "index"),
            0,
            r'encoders\[1\] has "index" 0; expected 1 \(encoders are listed in order',
        ),
        (("encoders", 0, "name"), None, r'encoders\[0\] needs a "name", such as "blocks.0"'),
        (
            ("encoders", 0, "weights"),
            None,
            r"encoders\[0\].weights is None; expected a whole number from 2 to 8",
        ),
        (("encoders", 0, "weights"), {}, r"encoders\[0\].weights is {}; expected a whole number"),
        (("encoders", 0, "weights"), 9, r"encoders\[0\].weights is 9"),
        (("encoders", 0, "weights"), True, r"encoders\[0\].weights is True"),
        (("encoders", 0, "activations"), 1, r"encoders\[0\].activations is 1"),
        (("encoders", 0, "activations"), "8", r"encoders\[0\].activations is '8'"),
        (("encoders", 1, "weights", "mlp.fc1"), 8.0, r"encoders\[1\].weights.mlp.fc1 is 8.0"),
        (("encoders", 1, "attention"), {"attn": 4}, r"encoders\[1\].attention is {'attn': 4}"),
        (("pinned",), [8], '"pinned" must be an object of group names and bits'),
        (("pinned", "head"), 16, "pinned.head is 16"),
        (
            ("pinned",),
            {"head": 8},
            '"pinned" must have the groups of scheme fq-vit: embedding, head, residual, scores$',
        ),
    ],
)
def test_faulty_entries_are_named(path: tuple[Any, ...], value: object, match: str) -> None:
    faulty: Any = document()
    place = faulty
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(UserError, match=match) as caught:
        BitConfig.from_json(faulty)
    assert "\n" not in str(caught.value)


def test_a_layer_without_bits_is_named() -> None:
    with pytest.raises(UserError, match=r"blocks\.1 has no weights bits for layer attn\.proj"):
        CONFIG.encoders[1].bits("weights", "attn.proj")
