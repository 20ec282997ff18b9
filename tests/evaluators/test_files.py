"""Whole files or none, one check of what can be written, and the cache folder that the environment names."""

import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from bitfront.evaluators.files import (
    cache_folder,
    check_writable,
    explained,
    parsed_json,
    readable,
    replacing,
    split_entry,
    with_entry_of,
    write_atomically,
)
from bitfront.spaces import BitfrontError, UserError


class TestEntries:
    def test_files_and_entries(self, tmp_path: Path) -> None:
        file, odd = tmp_path / "w.pth", tmp_path / "w.pth:ema"
        file.touch()
        assert split_entry(str(file)) == (str(file), None)
        assert split_entry(f"{file}:ema") == (str(file), "ema")
        assert split_entry(f"{file}:model.ema:x") == (str(file), "model.ema:x")
        assert split_entry(f"{tmp_path}:ema") == (str(tmp_path), "ema")
        odd.touch()
        assert split_entry(f"{file}:ema") == (str(odd), None)
        assert split_entry(f"{odd}:ema") == (str(odd), "ema")

    @pytest.mark.parametrize("place", [r"C:\none\w.pth", "C:/none/w.pth", "none.pth:ema", ":", ""])
    def test_without_such_a_file(self, place: str) -> None:
        assert split_entry(place) == (place, None)

    def test_a_file_that_moves_keeps_its_entry(self, tmp_path: Path) -> None:
        new, odd = tmp_path / "w.pth", tmp_path / "w:1.pth"
        new.touch()
        odd.touch()
        assert with_entry_of("/old/w.pth:ema", str(new)) == f"{new}:ema"
        assert with_entry_of("/old/w.pth:ema", f"{new}:model") == f"{new}:model"
        assert with_entry_of("/old/w.pth", str(new)) == str(new)
        assert with_entry_of(r"C:\old\w.pth", str(new)) == str(new)
        assert with_entry_of("/old/w:1.pth", str(odd)) == str(odd)
        assert with_entry_of(None, str(new)) == str(new)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a":' * 100_000, "1" * 10_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed_json(text)


class TestReplacing:
    def test_writes_replace_whole_files(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a.json", "1")
        write_atomically(tmp_path / "a.json", "22")
        assert (tmp_path / "a.json").read_text() == "22"

    def test_bytes_and_text_as_utf8(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", "µ")
        assert (tmp_path / "a").read_bytes() == b"\xc2\xb5"
        write_atomically(tmp_path / "a", b"\x00")
        assert (tmp_path / "a").read_bytes() == b"\x00"

    def test_two_writers_of_one_file_do_not_meet(self, tmp_path: Path) -> None:
        """With one fixed name of the unfinished file, the second would fail or rename the first one's."""
        path = tmp_path / "front.png"
        with replacing(path) as first:
            first.write_text("first")
            with replacing(path) as second:
                second.write_text("second")
                assert first.read_text() == "first"
            assert path.read_text() == "second"
        assert path.read_text() == "first"
        assert list(tmp_path.iterdir()) == [path]

    def test_many_threads_leave_one_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.csv"
        texts = [str(number) * 10_000 for number in range(8)]
        errors: list[Exception] = []

        def write(text: str) -> None:
            try:
                for _ in range(5):
                    write_atomically(path, text)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert path.read_text() in texts
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_leaves_the_old_file_and_no_parts(self, tmp_path: Path) -> None:
        path = tmp_path / "front.csv"
        path.write_text("old")

        def fail() -> None:
            with replacing(path) as part:
                part.write_text("half")
                raise KeyError("drawing failed")

        with pytest.raises(KeyError):
            fail()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_block_that_writes_nothing_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
            pass

    def test_names_as_long_as_they_may_be(self, tmp_path: Path) -> None:
        path = tmp_path / ("é" * 127)
        write_atomically(path, "1")
        assert path.read_text() == "1"

    def test_permissions_are_those_of_new_files(self, tmp_path: Path) -> None:
        (tmp_path / "plain").touch()
        write_atomically(tmp_path / "a", "1")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


class TestCheckWritable:
    def test_nothing_is_left_and_what_is_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("mine")
        check_writable(tmp_path / "a")
        check_writable(tmp_path / "b")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a").read_text() == "mine"

    def test_a_missing_folder_is_refused_or_made(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "deep" / "a"
        with pytest.raises(UserError, match=r"there is no folder .*deep; make it, or choose another"):
            check_writable(path)
        with pytest.raises(UserError, match=r"there is no folder .*new; make it, or choose another"):
            check_writable(path, make_folder=True)
        assert list(tmp_path.iterdir()) == [], "a name that was mistyped makes no folder"
        path = tmp_path / "new" / "a"
        check_writable(path, make_folder=True)
        assert list(path.parent.iterdir()) == []

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="it is a folder; expected the name of a file"):
            check_writable(tmp_path)

    @pytest.mark.parametrize("place", ["file/m.onnx", "folder", "n" * 300])
    @pytest.mark.parametrize("make_folder", [False, True])
    def test_places_that_are_none(self, tmp_path: Path, place: str, make_folder: bool) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "folder").mkdir()
        with pytest.raises(UserError, match="cannot write"):
            check_writable(tmp_path / place, make_folder=make_folder)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_is_only_read(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(UserError, match="make the folder writable, or choose another"):
                check_writable(tmp_path / "a")
        finally:
            tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.EACCES, UserError, "make the folder writable"),
        (errno.ENOTDIR, UserError, "choose a folder that can hold it"),
        (errno.ENOSPC, BitfrontError, "free some space"),
        (errno.EIO, BitfrontError, "fix that"),
    ],
)
def test_failures_are_told_in_one_line(number: int, kind: type[Exception], remedy: str) -> None:
    with pytest.raises(kind, match=remedy) as caught, explained(Path("a")):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value)


def test_folders_by_environment(tmp_path: Path) -> None:
    base = str(tmp_path)
    home = Path.home()
    assert cache_folder({}) == home / ".cache" / "bitfront"
    assert cache_folder({"XDG_CACHE_HOME": base}) == tmp_path / "bitfront"
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == home / ".cache" / "bitfront"
    assert cache_folder({"LOCALAPPDATA": base}) == tmp_path / "bitfront"
    assert cache_folder({"XDG_CACHE_HOME": base, "BITFRONT_CACHE": "~/kept"}) == home / "kept"
    assert cache_folder({"BITFRONT_CACHE": "kept"}) == Path.cwd() / "kept"
    assert [cache_folder({"BITFRONT_CACHE": text}) for text in ("", " ", "off", "OFF")] == [None] * 4


def test_a_user_without_a_home_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder({}) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_may_not_be_read_is_named_and_what_is_missing_passes_through(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"cannot read .*a: permission denied; have its owner let you"),
        readable(tmp_path / "a"),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with (
        pytest.raises(BitfrontError, match=r"cannot read .*b: input/output error; mend that and try"),
        readable(tmp_path),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError), readable(tmp_path / "a"):
        (tmp_path / "a").read_text()
