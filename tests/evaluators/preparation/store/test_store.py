"""The store of prepared models: exact, atomic, bounded, and never in the way of a run."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitfront.evaluators.preparation.store import store as entry_files
from bitfront.evaluators.preparation.store.store import DEFAULT_LIMIT, PreparationStore, cache_limit
from bitfront.spaces import UserError

KEY = "0123456789abcdef" * 4
DOCUMENT: dict[str, Any] = {
    "format": 3,
    "scales": [0.1, -0.0, 1e-300, float("inf")],
    "név": {"ß": None, "b": True},
}
DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
]  # fmt: skip


def key_of(number: int) -> str:
    return f"{number:064x}"


def content(size: int = 100) -> dict[str, torch.Tensor]:
    return {"codes": torch.arange(size).to(torch.int8), "scale": torch.tensor(0.5)}


@pytest.fixture
def store(tmp_path: Path) -> PreparationStore:
    return PreparationStore(tmp_path / "kept" / "here")


@pytest.fixture
def saved(store: PreparationStore) -> Path:
    """The file of one saved entry."""
    store.save(KEY, content(), DOCUMENT)
    assert store.folder is not None
    return store.folder / f"{KEY}.safetensors"


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def assert_exact(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.device.type == "cpu"
    assert not found.requires_grad
    as_bytes = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected)]
    assert torch.equal(*as_bytes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0,), (2, 0, 3)], ids=str)
def test_tensors_come_back_exactly(
    store: PreparationStore, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 50).to(dtype)
    store.save(KEY, {"a.b": tensor}, {})
    entry = store.load(KEY)
    assert entry is not None
    assert_exact(entry[0]["a.b"], tensor)


def test_special_floats_come_back_bit_by_bit(store: PreparationStore) -> None:
    tensor = torch.tensor([0x7FC00001, -0x80000000, 1, 0x7F800000], dtype=torch.int64).to(torch.int32)
    store.save(KEY, {"odd": tensor.view(torch.float32)}, {})
    entry = store.load(KEY)
    assert entry is not None
    assert_exact(entry[0]["odd"], tensor.view(torch.float32))


def test_the_document_comes_back(store: PreparationStore, saved: Path) -> None:
    entry = store.load(KEY)
    assert entry is not None
    assert entry[1] == DOCUMENT
    assert str(entry[1]["scales"][1]) == "-0.0"


def test_views_parameters_and_shared_memory_are_kept_as_values(store: PreparationStore) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "whole": base,
        "again": base,
        "row": base[1],
        "turned": base.t(),
        "spread": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    store.save(KEY, tensors, {})
    entry = store.load(KEY)
    assert entry is not None
    assert entry[0].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_exact(entry[0][name], tensor)


def test_loaded_tensors_are_writable_and_do_not_depend_on_the_file(
    store: PreparationStore, saved: Path
) -> None:
    entry = store.load(KEY)
    assert entry is not None
    saved.write_bytes(b"")
    entry[0]["codes"] += 1
    assert torch.equal(entry[0]["codes"], content()["codes"] + 1)


def test_an_entry_without_tensors_is_an_entry(store: PreparationStore) -> None:
    store.save(KEY, {}, {"nothing": True})
    assert store.load(KEY) == ({}, {"nothing": True})


def test_nothing_is_found_where_nothing_was_saved(store: PreparationStore, saved: Path) -> None:
    assert store.load(key_of(1)) is None
    assert PreparationStore(saved.parent / "absent").load(KEY) is None


def test_saving_again_replaces(store: PreparationStore, saved: Path) -> None:
    store.save(KEY, {"other": torch.ones(2)}, {})
    entry = store.load(KEY)
    assert entry is not None
    assert list(entry[0]) == ["other"]
    assert os.listdir(saved.parent) == [saved.name]


def test_only_complete_files_are_left_in_the_folder(saved: Path) -> None:
    assert os.listdir(saved.parent) == [f"{KEY}.safetensors"]
    assert set(load_file(saved)) == {"codes", "scale"}


@pytest.mark.parametrize(
    "key",
    ["", "..", "../" * 21 + "x", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "/" + "a" * 63],
)
def test_what_is_not_a_key_is_refused(store: PreparationStore, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        store.load(key)
    with pytest.raises(ValueError, match="is not a key"):
        store.save(key, content(), {})
    assert store.folder is not None
    assert not store.folder.exists()


def test_a_document_that_is_not_json_is_refused(store: PreparationStore) -> None:
    with pytest.raises(TypeError):
        store.save(KEY, content(), {"value": object()})


def assert_absent(store: PreparationStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is not loaded, is removed, and only informs."""
    with caplog.at_level(logging.INFO, logger="bitfront"):
        assert store.load(KEY) is None
    assert not path.exists()
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_a_file_with_any_byte_changed_is_absent(store: PreparationStore, saved: Path) -> None:
    whole = saved.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x04
        saved.write_bytes(damaged)
        assert store.load(KEY) is None, place
        assert not saved.exists()
    saved.write_bytes(whole)
    assert store.load(KEY) is not None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_absent(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    assert_absent(store, saved, caplog)


def test_a_foreign_file_is_absent(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(content(), saved)
    assert_absent(store, saved, caplog)


def test_a_pickle_is_absent_and_not_read(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save(Trap(), saved)
    assert_absent(store, saved, caplog)
    assert not (tmp_path / "sprung").exists()


def test_an_entry_of_another_version_is_absent(
    store: PreparationStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.folder is not None
    with monkeypatch.context() as patch:
        patch.setattr(entry_files, "VERSION", entry_files.VERSION + 1)
        store.save(KEY, content(), DOCUMENT)
        assert store.load(KEY) is not None
    assert_absent(store, store.folder / f"{KEY}.safetensors", caplog)
    assert "version" in caplog.text


def test_an_entry_of_another_key_is_absent(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(key_of(1), content(), DOCUMENT)
    saved.with_name(f"{key_of(1)}.safetensors").replace(saved)
    assert_absent(store, saved, caplog)


def test_a_folder_in_place_of_the_file_is_absent(store: PreparationStore, saved: Path) -> None:
    saved.unlink()
    saved.mkdir()
    assert store.load(KEY) is None


def set_ages(folder: Path, ages: dict[int, float]) -> None:
    """Makes entries, by number, look as if they were last used some seconds after 1970."""
    for number, age in ages.items():
        os.utime(folder / f"{key_of(number)}.safetensors", (age, age))


def kept(store: PreparationStore) -> list[int]:
    assert store.folder is not None
    return sorted(int(name.partition(".")[0], 16) for name in os.listdir(store.folder))


def limited(store: PreparationStore, entries: float) -> PreparationStore:
    """The same store with room for some entries of ``content()`` and an empty document."""
    return PreparationStore(store.folder, int(entries * len(entry_files.entry_bytes(KEY, content(), {}))))


def test_the_least_recently_used_entries_are_removed_first(store: PreparationStore) -> None:
    assert store.folder is not None
    for number in range(4):
        store.save(key_of(number), content(), {})
    set_ages(store.folder, {0: 300.0, 1: 100.0, 2: 400.0, 3: 200.0})
    small = limited(store, 4.5)
    assert small.load(key_of(1)) is not None  # used now, so that 3 is the oldest
    small.save(key_of(4), content(), {})
    assert kept(store) == [0, 1, 2, 4]
    limited(store, 2.5).save(key_of(5), content(), {})
    assert len(kept(store)) == 2
    assert 5 in kept(store)
    assert not {0, 2} & set(kept(store))


def test_the_entry_just_written_stays_whatever_its_date(store: PreparationStore) -> None:
    assert store.folder is not None
    for number in range(3):
        store.save(key_of(number), content(), {})
    future = 4e9
    set_ages(store.folder, {0: future, 1: future, 2: future})
    limited(store, 1.0).save(key_of(3), content(), {})
    assert kept(store) == [3]


def test_an_entry_above_the_limit_is_not_kept(
    store: PreparationStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(key_of(0), content(), {})
    limited(store, 0.99).save(key_of(1), content(), {})
    assert kept(store) == [0]
    (message,) = warnings_of(caplog)
    assert "BITFRONT_CACHE_LIMIT" in message


def test_files_of_others_are_not_counted_and_not_removed(store: PreparationStore, saved: Path) -> None:
    os.utime(saved, (100.0, 100.0))
    mine = saved.with_name("model.safetensors")
    mine.write_bytes(bytes(10_000))
    limited(store, 1.0).save(key_of(1), content(), {})
    assert set(os.listdir(saved.parent)) == {mine.name, f"{key_of(1)}.safetensors"}


def test_what_a_killed_process_left_is_removed_later(store: PreparationStore, saved: Path) -> None:
    abandoned, current = (saved.with_name(f".{KEY[:40]}.{token}.part") for token in ("0a1b", "2c3d"))
    abandoned.write_bytes(b"part")
    current.write_bytes(b"part")
    os.utime(abandoned, (100.0, 100.0))
    store.save(key_of(1), content(), {})
    assert not abandoned.exists()
    assert current.exists()


def test_a_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = PreparationStore(tmp_path / "file" / "cache")
    store.save(KEY, content(), DOCUMENT)
    assert len(warnings_of(caplog)) == 1
    assert store.load(KEY) is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_only_read_is_read(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved.parent.chmod(0o500)
    try:
        store.save(key_of(1), content(), {})
        assert store.load(KEY) is not None
    finally:
        saved.parent.chmod(0o700)
    assert len(warnings_of(caplog)) == 1
    assert kept(store) == [int(KEY, 16)]


def test_a_full_disk_leaves_what_was_there(
    store: PreparationStore, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        store.save(KEY, content(100_000), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert len(warnings_of(caplog)) == 1
    assert os.listdir(saved.parent) == [saved.name]
    entry = store.load(KEY)
    assert entry is not None
    assert entry[1] == DOCUMENT


def test_an_interrupted_save_leaves_nothing(
    store: PreparationStore, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(key_of(1), content(), {})
    assert os.listdir(saved.parent) == [saved.name]


WRITER = """
import itertools, sys, torch
from pathlib import Path
from bitfront.evaluators.preparation.store.store import PreparationStore
store, key, stop = PreparationStore(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
for turn in itertools.takewhile(lambda turn: not stop.exists(), itertools.count()):
    store.save(key, {"codes": torch.full((50_000,), float(turn))}, {"turn": turn})
"""


def test_processes_save_and_load_at_the_same_time(
    store: PreparationStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop = tmp_path / "stop"
    store.save(KEY, {"codes": torch.full((50_000,), -1.0)}, {"turn": -1})
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.folder), KEY, str(stop)], stderr=subprocess.PIPE, text=True
    )
    turns: set[int] = set()
    while len(turns) < 50 and writer.poll() is None:
        entry = store.load(KEY)
        assert entry is not None
        assert torch.equal(entry[0]["codes"], torch.full((50_000,), float(entry[1]["turn"])))
        turns.add(entry[1]["turn"])
        store.save(KEY, entry[0], entry[1])
    stop.touch()
    _, errors = writer.communicate()
    assert writer.returncode == 0
    assert "not kept" not in errors
    assert warnings_of(caplog) == []
    assert store.folder is not None
    assert os.listdir(store.folder) == [f"{KEY}.safetensors"]


def test_a_store_that_is_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BITFRONT_CACHE", "off")
    store = PreparationStore.default()
    store.save(KEY, content(), DOCUMENT)
    assert store.folder is None
    assert store.load(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("BITFRONT_CACHE_LIMIT", "1.5 MB")
    store = PreparationStore.default()
    assert store == PreparationStore(tmp_path / "mine", 1_500_000)
    store.save(KEY, content(), DOCUMENT)
    assert os.listdir(tmp_path / "mine") == [f"{KEY}.safetensors"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", DEFAULT_LIMIT),
        ("0", 0),
        ("123456", 123456),
        ("2GB", 2_000_000_000),
        ("500 MiB", 500 * 2**20),
        ("1.5gib", 3 * 2**29),
        ("1TB", 10**12),
    ],
)
def test_limits_are_read(text: str, expected: int) -> None:
    assert cache_limit({"BITFRONT_CACHE_LIMIT": text}) == expected


@pytest.mark.parametrize("text", ["much", "-1GB", "2 G B", "1e9", "nan", "2GX", "٣GB"])
def test_limits_that_are_no_sizes_are_the_users_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"BITFRONT_CACHE_LIMIT .* is not a size"):
        cache_limit({"BITFRONT_CACHE_LIMIT": text})
