"""Files of torch's zip format whose content is not what was saved."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from bitfront.evaluators.models.torch_archive import check_archive
from bitfront.evaluators.models.weights_file import read_weights_file
from bitfront.spaces import UserError

STATE = {"a": torch.arange(100.0), "b": torch.ones(3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def with_entries(path: Path, **options: int) -> None:
    """Writes the archive once more, with its first tensor as zeros of 8 MB."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            content = bytes(8_000_000) if name.endswith("/data/0") else before.read(name)
            after.writestr(name, content, **options)


def test_what_torch_wrote_passes(path: Path, tmp_path: Path) -> None:
    check_archive(path)
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    check_archive(tmp_path / "old.pth")


def test_a_flipped_bit_of_a_tensor_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(100.0).numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["a"][1] != 1.0, "torch does not notice"
    with pytest.raises(ValueError, match=r"its entry w/data/0 differs from its checksum"):
        check_archive(path)
    with pytest.raises(UserError, match=r"w\.pth is not a readable weights file .*checksum") as caught:
        read_weights_file(path)
    assert "\n" not in str(caught.value)


def test_without_checksums_as_torch_can_be_told_to_write(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    check_archive(path)


def test_a_bomb_is_refused_before_it_is_unpacked(path: Path) -> None:
    with_entries(path, compress_type=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match="compressed entries"):
        check_archive(path)


def test_cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] + content[len(content) // 2 :])
    with pytest.raises(UserError, match=r"is not a readable weights file"):
        read_weights_file(path)
