"""Weights files: told by what they hold, data beside weights read, other files named, code never run."""

from __future__ import annotations

import argparse
import collections
import datetime
import gzip
import json
import os
import pathlib
import pickle
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from bitfront.evaluators.models.checkpoint import read_checkpoint
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.weights_file import HOLDERS, read_weights_file, weights_in
from bitfront.spaces import UserError

State = dict[str, torch.Tensor]


def weights() -> State:
    return {"head.weight": torch.ones(10, 4), "head.bias": torch.arange(10.0)}


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


# What timm's train.py, DeiT's main.py and others write beside weights.
BESIDE = {
    "namespace": argparse.Namespace(lr=1e-3, img_size=None, nested=argparse.Namespace(a=[1])),
    "simple namespace": types.SimpleNamespace(a=1),
    "numpy scalars": [np.float64(0.5), np.int64(3), np.float32(1.0), np.bool_(True)],
    "numpy arrays": np.arange(6.0).reshape(2, 3),
    "numpy dtype": np.dtype("float32"),
    "paths": [pathlib.Path("/a/b"), pathlib.PureWindowsPath("c:/x")],
    "defaultdict": collections.defaultdict(list, {"top1": [1.0]}),
    "containers": [
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        {1, 2},
        frozenset({3}),
        1j,
        b"x",
    ],
    "dates": [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1)],
}


class TestDataBesideWeights:
    @pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
    @pytest.mark.parametrize("zipped", [True, False])
    def test_it_is_read(self, tmp_path: Path, value: object, zipped: bool) -> None:
        content = {"epoch": 3, "state_dict": weights(), "args": value}
        torch.save(content, tmp_path / "c.pth.tar", _use_new_zipfile_serialization=zipped)
        found = read_checkpoint(tmp_path / "c.pth.tar").state
        assert torch.equal(found["head.bias"], weights()["head.bias"])

    def test_the_image_size_of_a_training_is_known(self, tmp_path: Path) -> None:
        for given_size, expected in (
            ({"img_size": 448}, (448, 448)),
            ({"img_size": None, "input_size": (3, 96, 64)}, (96, 64)),
            ({"input_size": 224}, (224, 224)),
            ({"img_size": "x", "input_size": [1, 2, 3, 4]}, None),
            ({}, None),
        ):
            torch.save({"model": weights(), "args": argparse.Namespace(**given_size)}, tmp_path / "c.pth")
            assert read_checkpoint(tmp_path / "c.pth").trained_at == expected

    def test_weights_after_a_factory_are_not_made_by_it(self, tmp_path: Path) -> None:
        torch.save(collections.defaultdict(list, {"model": weights()}), tmp_path / "c.pth")
        found: Any = read_weights_file(tmp_path / "c.pth")
        assert type(found) is dict
        assert "absent" not in found


class _Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class TestCodeIsNeverRun:
    @pytest.mark.parametrize(
        "call",
        [
            lambda marker: _Call(os.system, f"touch {marker}"),
            lambda marker: _Call(eval, f"open({str(marker)!r}, 'w')"),
            lambda marker: _Call(open, str(marker), "w"),
            lambda marker: _Call(pathlib.Path.touch, pathlib.Path(marker)),
            lambda marker: _Call(np.save, str(marker), np.ones(1)),
            lambda marker: _Call(collections.defaultdict, _Call(open, str(marker), "w")),
            lambda marker: argparse.Namespace(a=_Call(os.mkdir, str(marker))),
            lambda marker: _Call(getattr, pathlib.Path(marker), "touch"),
        ],
    )
    @pytest.mark.parametrize("protocol", [2, 4])
    def test_calls_are_refused(self, tmp_path: Path, call: Callable[[Path], object], protocol: int) -> None:
        marker = tmp_path / "executed"
        content = {"state_dict": weights(), "args": call(marker)}
        torch.save(content, tmp_path / "c.pth", pickle_protocol=protocol)
        refused(tmp_path / "c.pth", "loading it would run code|not a readable weights file")
        (tmp_path / "p.pth").write_bytes(pickle.dumps(content, protocol=protocol))
        refused(tmp_path / "p.pth", "loading it would run code|not a readable weights file")
        assert not marker.exists()

    def test_holders_are_only_named(self, tmp_path: Path) -> None:
        """A path that is made of a pickle could open nothing: what stands for it is no path at all."""
        torch.save({"model": weights(), "args": pathlib.Path("/etc")}, tmp_path / "c.pth")
        found: Any = read_weights_file(tmp_path / "c.pth")
        assert not isinstance(found["args"], pathlib.PurePath)
        assert "os.system" not in HOLDERS
        assert not any("eval" in name or "exec" in name or "getattr" in name for name in HOLDERS)


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "it is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs .* `git lfs pull`"),
            (b"\n <!DOCTYPE html><html>", "it is a web page"),
            (gzip.compress(b"x" * 99, mtime=0), r"compressed \(gzip\); unpack it first"),
            (b"\x89HDF\r\n\x1a\n" + b"0" * 99, "HDF5 file, as Keras"),
            (b"\x93NUMPY\x01" + b"0" * 99, "it is a NumPy array"),
            (json.dumps({"weight_map": {"a": "b"}}).encode(), "index of weights in several files: join them"),
        ],
    )
    @pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
    def test_each_is_named(self, tmp_path: Path, content: bytes, reason: str, name: str) -> None:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, f"not a readable weights file: .*{reason}")

    def test_archives(self, tmp_path: Path) -> None:
        torch.save(weights(), tmp_path / "c.pth")
        with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
            archive.write(tmp_path / "c.pth", "run/c.pth")
        refused(tmp_path / "c.zip", r"a zip archive of run/c\.pth; unpack it")
        np.savez(tmp_path / "c.npz", a=np.ones(3))
        refused(tmp_path / "c.npz", r"NumPy arrays \(\.npz\), as JAX models have them")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "c.pt")
        refused(tmp_path / "c.pt", r"a TorchScript program; save model\.state_dict\(\)")

    def test_the_suffix_does_not_matter(self, tmp_path: Path) -> None:
        save_file(weights(), tmp_path / "c.pth")
        torch.save(weights(), tmp_path / "c.safetensors")
        torch.save(weights(), tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
        for name in ("c.pth", "c.safetensors", "old.safetensors"):
            assert torch.equal(read_checkpoint(tmp_path / name).state["head.bias"], weights()["head.bias"])

    def test_folders(self, tmp_path: Path) -> None:
        refused(tmp_path, "is a folder and holds no weights file; give the weights file in it")
        torch.save(weights(), tmp_path / "last.pth")
        assert weights_in(tmp_path) == tmp_path / "last.pth"
        torch.save(weights(), tmp_path / "best.pth")
        refused(tmp_path, r"is a folder and has best\.pth, last\.pth; give the weights file in it")
        save_file(weights(), tmp_path / "model.safetensors")
        assert weights_in(tmp_path) == tmp_path / "model.safetensors"
        assert read_checkpoint(tmp_path).path == tmp_path / "model.safetensors"

    def test_folders_of_parts(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors.index.json").write_text("{}")
        save_file(weights(), tmp_path / "model-00001-of-00002.safetensors")
        refused(tmp_path, "holds weights in several files: join them")

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (torch.empty(10, device="meta"), "holds no values"),
            (torch.ones(1).expand(10**12), "repeats few values 1000000000000 times"),
            (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), r"quantized torch\.qint8 values"),
            (torch.ones(3, 3).to_sparse(), r"sparse torch\.float32 values"),
            (torch.ones(3, dtype=torch.complex64), r"torch\.complex64 values"),
        ],
    )
    def test_tensors_that_are_no_weights(self, tmp_path: Path, value: torch.Tensor, reason: str) -> None:
        torch.save({**weights(), "norm.bias": value}, tmp_path / "c.pth")
        refused(tmp_path / "c.pth", rf"norm\.bias .*{reason}")


@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), zipped=st.booleans(), name=st.sampled_from(["c.pth", "c.safetensors"]))
def test_damaged_files_end_in_one_line(tmp_path: Path, data: st.DataObject, zipped: bool, name: str) -> None:
    path = tmp_path / name
    if data.draw(st.booleans()):
        save_file(weights(), path)
    else:
        torch.save(
            {"model": weights(), "args": argparse.Namespace(a=1)}, path, _use_new_zipfile_serialization=zipped
        )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.raises(UserError) as caught:  # if not for the damage: two tensors are no model
        load_model("digits_deit", checkpoint=path)
    assert "\n" not in str(caught.value)
