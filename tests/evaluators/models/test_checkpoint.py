"""Checkpoints: every accepted wrapping, and every refusal, above all of code."""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bitfront.evaluators.models.checkpoint import (
    classes_of,
    load_strictly,
    read_checkpoint,
    round_to_half,
    write_weights,
)
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.weights_file import foreign_names
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError

State = dict[str, torch.Tensor]
SmallSwin = Callable[..., nn.Module]


def weights() -> State:
    return {"head.weight": torch.ones(10, 4), "head.bias": torch.arange(10.0)}


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


class TestAccepted:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: state,
            lambda state: {"state_dict": state, "epoch": 3},
            lambda state: {"model": state, "lr": 0.1},
            lambda state: {"model_ema": state},
            lambda state: {"ema": state},
            lambda state: {f"module.{name}": value for name, value in state.items()},
            lambda state: {"state_dict": {f"module.{name}": value.half() for name, value in state.items()}},
        ],
    )
    def test_wrappings(self, tmp_path: Path, wrap: Callable[[State], object]) -> None:
        torch.save(wrap(weights()), tmp_path / "c.pth")
        state = read_checkpoint(tmp_path / "c.pth").state
        assert list(state) == list(weights())
        for name, value in weights().items():
            assert state[name].dtype == torch.float32
            assert torch.equal(state[name], value)

    def test_safetensors_and_the_legacy_format(self, tmp_path: Path) -> None:
        save_file(weights(), tmp_path / "c.safetensors")
        torch.save(weights(), tmp_path / "c.pt", _use_new_zipfile_serialization=False)
        for name in ("c.safetensors", "c.pt"):
            assert torch.equal(read_checkpoint(tmp_path / name).state["head.bias"], weights()["head.bias"])

    def test_the_classifier_tells_the_classes(self) -> None:
        assert classes_of(weights()) == 10
        assert classes_of({"head.fc.weight": torch.ones(3, 4)}) == 3
        assert classes_of({"head.weight": torch.ones(3)}) is None
        assert classes_of({}) is None

    def test_swins_as_their_authors_published_them(self, small_swin: SmallSwin, tmp_path: Path) -> None:
        module = small_swin(0, depths=(2, 1, 1), num_heads=(1, 2, 2), img_size=32)
        published: dict[str, torch.Tensor] = {}
        for name, value in module.state_dict().items():
            stage = re.match(r"layers\.(\d)\.downsample", name)
            moved = name if stage is None else f"layers.{int(stage[1]) - 1}{name.removeprefix(stage[0][:8])}"
            published[moved.replace("head.fc.", "head.")] = value
        published["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
        published["layers.0.blocks.1.attn_mask"] = torch.zeros(16, 16, 16)
        assert "layers.0.downsample.reduction.weight" in published
        torch.save({"model": published}, tmp_path / "swin.pth")
        state = read_checkpoint(tmp_path / "swin.pth").state
        assert classes_of(state) == 7
        fresh = small_swin(1, depths=(2, 1, 1), num_heads=(1, 2, 2), img_size=32)
        load_strictly(fresh, state, "swin", tmp_path / "swin.pth")
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(fresh(images), module(images))

    def test_swins_under_timms_names(self, small_swin: SmallSwin, tmp_path: Path) -> None:
        module = small_swin(0)
        save_file(module.state_dict(), tmp_path / "swin.safetensors")
        assert list(read_checkpoint(tmp_path / "swin.safetensors").state) == sorted(module.state_dict())

    def test_a_fine_tuned_classifier_needs_no_flag(self, tmp_path: Path) -> None:
        ensure_torchvision()
        import timm

        torch.save(
            timm.create_model("deit_tiny_patch16_224", num_classes=7).state_dict(), tmp_path / "tuned.pth"
        )
        loaded = load_model("deit_tiny_patch16_224", checkpoint=tmp_path / "tuned.pth")
        assert loaded.classes == 7
        with pytest.raises(UserError, match=r"head\.weight has shape \[7, 192\].* classifier has 7 classes"):
            load_model("deit_tiny_patch16_224", checkpoint=tmp_path / "tuned.pth", num_classes=9)


class TestCodeIsNeverRun:
    @pytest.fixture
    def marker(self, tmp_path: Path) -> Path:
        return tmp_path / "executed"

    @pytest.mark.parametrize("wrapping", ["zip", "legacy", "pickle", "protocol 0"])
    def test_a_pickle_with_code_in_it(self, tmp_path: Path, marker: Path, wrapping: str) -> None:
        class Malicious:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.system, (f"touch {marker}",)

        path = tmp_path / "bad.pth"
        content = {"state_dict": weights(), "extra": Malicious()}
        if wrapping in {"zip", "legacy"}:
            torch.save(content, path, _use_new_zipfile_serialization=wrapping == "zip")
        else:
            path.write_bytes(pickle.dumps(Malicious(), protocol=0 if wrapping == "protocol 0" else None))
        refused(path, r"bad\.pth was refused because loading it would run code \((posix|nt)\.system\)")
        assert not marker.exists()
        assert foreign_names(path) == (f"{os.name}.system",)

    def test_whole_modules_are_code_too(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
        refused(tmp_path / "module.pth", r"would run code \(.*torch\.nn\.modules\.linear\.Linear")

    def test_plain_tensors_are_not_code(self, tmp_path: Path) -> None:
        torch.save({"p": nn.Parameter(torch.ones(2)), "h": torch.ones(2).half()}, tmp_path / "plain.pth")
        assert foreign_names(tmp_path / "plain.pth") == ()


class TestRefused:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "none.pth", "no such checkpoint")
        refused(tmp_path, "no such checkpoint")

    @pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"a text file\n" * 9, b'{"a": 1}', bytes(range(256)) * 8, b"PK\x03\x04" + b"0" * 99],
        ids=["empty", "text", "json", "binary", "half a zip file"],
    )
    def test_files_that_are_no_weights(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a readable (weights|safetensors) file")

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        torch.save(weights(), tmp_path / "c.pth")
        content = (tmp_path / "c.pth").read_bytes()
        (tmp_path / "c.pth").write_bytes(content[: len(content) // 2])
        refused(tmp_path / "c.pth", "not a readable weights file")

    @pytest.mark.parametrize("content", [torch.ones(3), {}, {"a": 1}, {"model": {"w": "text"}}, [1, 2]])
    def test_other_contents(self, tmp_path: Path, content: object) -> None:
        torch.save(content, tmp_path / "c.pth")
        refused(tmp_path / "c.pth", "does not hold a state dict")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, tmp_path: Path, value: float) -> None:
        torch.save({**weights(), "norm.bias": torch.tensor([1.0, value])}, tmp_path / "c.pth")
        refused(tmp_path / "c.pth", r"norm\.bias holds values that are not finite")

    @pytest.mark.parametrize("value", [torch.ones(3, dtype=torch.int8), torch.ones(3, 3).to_sparse()])
    def test_values_that_are_no_weights(self, tmp_path: Path, value: torch.Tensor) -> None:
        torch.save({**weights(), "norm.bias": value}, tmp_path / "c.pth")
        refused(tmp_path / "c.pth", r"norm\.bias holds .* values; expected dense floating-point weights")

    def test_missing_and_unexpected_tensors(self) -> None:
        module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        state = {"0.weight": torch.ones(2, 2), **{f"extra{i}": torch.ones(1) for i in range(5)}}
        expected = (
            r"3 tensors missing \(0\.bias, 1\.weight, 1\.bias\), 5 tensors unexpected \(extra0, .*\.\.\.\)"
        )
        with pytest.raises(UserError, match=expected):
            load_strictly(module, state, "pair", Path("c.pth"))

    def test_another_shape_changes_nothing(self) -> None:
        module = nn.Linear(2, 2)
        before = module.weight.clone()
        state = {"weight": torch.ones(2, 2), "bias": torch.ones(3)}
        with pytest.raises(UserError, match=r"bias has shape \[3\] in the file and \[2\] in the model"):
            load_strictly(module, state, "layer", Path("c.pth"))
        assert torch.equal(module.weight, before)


class TestWriting:
    def test_a_full_disk_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "w.safetensors"
        path.write_bytes(b"old")

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(BitfrontError, match="no space left on device; free some space"):
            write_weights(round_to_half({"w": torch.ones(4)}), path, {})
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
