"""Records of verifications: what is written is read again, and damage is told in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitfront.evaluators.deployment import expectation as records
from bitfront.evaluators.deployment.expectation import Sidecar, content_digest, sidecar_of
from bitfront.evaluators.deployment.tolerance import Expected, digests_of
from bitfront.spaces import UserError


def record(second: bool = True) -> Sidecar:
    predictions = np.array([1, 2, 0, 2])
    other = np.array([1, 2, 0, 1]) if second else None
    return Sidecar(
        "abc", ("search", "test"), Expected(predictions, other, np.array([1, 2, 0, 0])), {"top1": 75.0}
    )


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    record().write(tmp_path / "r.json")
    return dict(json.loads((tmp_path / "r.json").read_text()))


def test_place() -> None:
    assert sidecar_of(Path("a/b.c.onnx")) == Path("a/b.c.onnx.verification.json")


def test_digest_is_that_of_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * 3_000_000)
    second.write_bytes(b"y")
    assert content_digest([first, second]) == hashlib.sha256(b"x" * 3_000_000 + b"y").hexdigest()
    assert content_digest([first]) != content_digest([first, second])


@pytest.mark.parametrize("second", [True, False])
def test_what_is_written_is_read(tmp_path: Path, second: bool) -> None:
    record(second).write(tmp_path / "r.json")
    found, wanted = Sidecar.read(tmp_path / "r.json"), record(second)
    assert (found.digest, found.splits) == (wanted.digest, wanted.splits)
    assert found.report["top1"] == 75.0
    for name in ("predictions", "second", "labels"):
        np.testing.assert_array_equal(getattr(found.expected, name), getattr(wanted.expected, name))
    assert not list(tmp_path.glob(".*"))


def test_digests_of_logits_are_kept_where_files_are_held_to_the_bit(tmp_path: Path) -> None:
    outputs = torch.arange(8.0).view(4, 2)
    for exact in (True, False):
        known = dataclasses.replace(record().expected, outputs=outputs)
        Sidecar("abc", ("test",), known, {"to_the_bit": exact}).write(tmp_path / "r.json")
        found = Sidecar.read(tmp_path / "r.json").expected.digests
        assert found == (digests_of(outputs) if exact else None)
    row = hashlib.sha256(np.array([2.0, 3.0], "<f4").tobytes()).hexdigest()
    assert digests_of(outputs)[1] == row


def test_digests_of_other_images_are_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    document["evaluator"]["outputs_sha256"] = ["0" * 64]
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="its outputs are of other images"):
        Sidecar.read(tmp_path / "r.json")


def test_what_a_person_finds_in_it(document: dict[str, Any]) -> None:
    assert (document["format"], document["version"]) == ("bitfront/verification", 1)
    assert document["splits"] == ["search", "test"]
    assert document["evaluator"]["second_kernels"] == [1, 2, 0, 1]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        record().write(tmp_path / "nowhere" / "r.json")


def changed(document: dict[str, Any], path: tuple[str, ...], value: object) -> str:
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "bitfront/bit-config"),
        (("version",), 2),
        (("evaluator",), None),
        (("evaluator",), []),
        (("evaluator", "predictions"), [1, 2]),
        (("evaluator", "predictions"), ["a", "b", "c", "d"]),
        (("evaluator", "predictions"), ["1", "2", "0", "2"]),
        (("evaluator", "predictions"), [1.5, 2.0, 0.0, 2.0]),
        (("evaluator", "predictions"), [True, True, False, True]),
        (("evaluator", "predictions"), [[1], [2], [0], [2]]),
        (("evaluator", "predictions"), [[1], 2]),
        (("evaluator", "predictions"), [10**30, 0, 0, 0]),
        (("evaluator", "predictions"), {"0": 1}),
        (("evaluator", "predictions"), 3),
        (("evaluator", "second_kernels"), [1]),
        (("evaluator", "labels"), []),
        (("splits",), 3),
        (("splits",), "test"),
        (("sha256",), None),
    ],
    ids=str,
)
def test_damage(tmp_path: Path, document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    (tmp_path / "r.json").write_text(changed(document, path, value))
    with pytest.raises(UserError) as caught:
        Sidecar.read(tmp_path / "r.json")
    assert "r.json" in str(caught.value)
    assert "remove it" in str(caught.value)


@pytest.mark.parametrize("missing", ["format", "version", "evaluator", "splits", "sha256"])
def test_missing_parts(tmp_path: Path, document: dict[str, Any], missing: str) -> None:
    del document[missing]
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="remove it"):
        Sidecar.read(tmp_path / "r.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"[" * 100_000, b"\xff\xfe\x00", b"9" * 5000],
    ids=lambda content: repr(content[:6]),
)
def test_what_is_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        Sidecar.read(tmp_path / "r.json")
    assert len(str(caught.value)) < 400


def test_a_huge_record_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record().write(tmp_path / "r.json")
    monkeypatch.setattr(records, "LARGEST_BYTES", 100)
    with pytest.raises(UserError, match="it is too large"):
        Sidecar.read(tmp_path / "r.json")


def test_a_record_of_no_images(tmp_path: Path, document: dict[str, Any]) -> None:
    document["evaluator"] = {"predictions": [], "second_kernels": None, "labels": []}
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="not of the same images"):
        Sidecar.read(tmp_path / "r.json")
