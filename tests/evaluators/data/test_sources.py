"""Sources: digits, class folders, labels.csv, CIFAR-10 copies, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from evaluator_contracts import ImageSourceContract
from PIL import Image
from shared_data import SHARED
from sklearn.datasets import load_digits

from bitfront.evaluators.data import cifar10
from bitfront.evaluators.data.registry import CIFAR10, DIGITS, open_source, path_of, with_absolute_path
from bitfront.evaluators.data.source import CorruptImageError, ImageSource
from bitfront.spaces import BitfrontError, UserError


def write_image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


def image_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(buffer, "JPEG")
    return buffer.getvalue()


def assert_user_error(data: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)


class TestNames:
    def test_sources_are_called_as_the_registry_calls_them(self) -> None:
        assert open_source(DIGITS).name == DIGITS
        assert cifar10.Cifar10Arrays.name == CIFAR10

    def test_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert [path_of(data) for data in ("digits", "cifar10", "cifar10:a", "b")] == [None, None, "a", "b"]
        assert with_absolute_path("digits") == "digits"
        assert with_absolute_path("cifar10") == "cifar10"
        assert with_absolute_path("cifar10:a/../b") == f"cifar10:{tmp_path}/b"
        assert with_absolute_path("b/labels.csv") == f"{tmp_path}/b/labels.csv"

    def test_names_are_read_without_the_libraries_that_open_sources(self) -> None:
        code = (
            "import sys, bitfront.evaluators.data.registry; "
            "sys.exit(not {'numpy', 'torch', 'PIL'}.isdisjoint(sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestDigits:
    def test_scans_are_scikit_learns(self) -> None:
        source, expected = open_source("digits"), load_digits()
        assert len(source) == 1797
        assert np.array_equal(source.labels, expected.target)
        scan = np.asarray(source.load(7))
        assert scan.dtype == np.uint8
        assert np.abs(scan / 255 * 16 - expected.images[7]).max() < 0.04

    def test_the_partition_is_fixed_and_stratified(self) -> None:
        source = open_source("digits")
        again = open_source("digits")
        assert source.partition is not None
        assert np.array_equal(source.partition, again.partition)
        held_out = source.partition == "held-out"
        assert held_out.sum() == 719
        shares = [held_out[source.labels == label].mean() for label in range(10)]
        assert max(shares) - min(shares) < 0.01

    def test_items_have_names(self) -> None:
        assert open_source("digits").describe(3) == "digits scan 3"


class TestImageFolder:
    def test_classes_are_sorted_folder_names(self, tmp_path: Path) -> None:
        for name in ("dog/b.jpg", "cat/a.PNG", "cat/deeper/c.jpg", "cat/notes.txt", ".hidden/x.jpg"):
            if name.endswith(".txt"):
                (tmp_path / name).write_text("no image")
            else:
                write_image(tmp_path / name)
        source = open_source(str(tmp_path))
        assert source.class_names == ("cat", "dog")
        assert source.labels.tolist() == [0, 0, 1]
        assert source.partition is None
        assert source.load(2).size == (8, 8)
        assert source.describe(0).endswith("cat/a.PNG")

    @pytest.mark.parametrize("held_out", ["val", "validation", "test"])
    def test_train_beside_held_out_is_a_partition(self, tmp_path: Path, held_out: str) -> None:
        for name in ("train/cat/a.png", "train/dog/a.png", f"{held_out}/dog/b.png"):
            write_image(tmp_path / name)
        source = open_source(str(tmp_path))
        assert source.partition is not None
        assert source.partition.tolist() == ["train", "train", "held-out"]
        assert source.labels.tolist() == [0, 1, 1]

    def test_held_out_classes_must_be_known(self, tmp_path: Path) -> None:
        for name in ("train/cat/a.png", "train/dog/a.png", "val/ape/b.png"):
            write_image(tmp_path / name)
        assert_user_error(str(tmp_path), "class folder ape, which .*train lacks")

    def test_missing_empty_and_imageless_folders(self, tmp_path: Path) -> None:
        assert_user_error(str(tmp_path / "nowhere"), "no such data.*expected cluttered, digits")
        assert_user_error("", "no such data")
        assert_user_error(str(tmp_path), "no class folders in")
        (tmp_path / "cat").mkdir()
        (tmp_path / "dog").mkdir()
        assert_user_error(str(tmp_path), "no images in .*<class>/<image>")

    @pytest.mark.parametrize("name", ["val/cat/a.png", "images/a.png"])
    def test_one_folder_is_no_classification(self, tmp_path: Path, name: str) -> None:
        write_image(tmp_path / name)
        only = name.split("/")[0]
        assert_user_error(str(tmp_path), f"has only the folder {only}; .* pass --data .*{only} if")


def cifar_tar(path: Path, names: list[str], extra: tarfile.TarInfo | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(image_bytes())
            tar.addfile(member, io.BytesIO(image_bytes()))
        if extra is not None:
            tar.addfile(extra)
    return path


ALL_CLASSES = [f"{side}/{name}/0.jpg" for side in ("train", "test") for name in cifar10.CLASSES]


class TestCifar10:
    @pytest.mark.parametrize("prefix", ["", "./", "CIFAR-10-images/"])
    def test_a_tar_file_is_read_in_place(self, tmp_path: Path, prefix: str) -> None:
        archive = cifar_tar(tmp_path / "c.tar", [prefix + name for name in [*ALL_CLASSES, "README.jpg"]])
        source = open_source(f"cifar10:{archive}")
        assert len(source) == 20
        assert source.class_names == cifar10.CLASSES
        assert source.partition is not None
        assert (source.partition == "train").sum() == 10
        cat = next(i for i in range(20) if source.describe(i).endswith("train/cat/0.jpg"))
        assert source.labels[cat] == 3
        assert source.load(cat).size == (32, 32)
        assert [path.name for path in tmp_path.iterdir()] == ["c.tar"]

    def test_a_folder_with_one_tar_file(self, tmp_path: Path) -> None:
        cifar_tar(tmp_path / "c.tar", ALL_CLASSES)
        assert len(open_source(f"cifar10:{tmp_path}")) == 20

    def test_class_folders(self, tmp_path: Path) -> None:
        for name in ALL_CLASSES:
            write_image(tmp_path / name)
        source = open_source(f"cifar10:{tmp_path}")
        assert source.partition is not None
        assert (source.partition == "held-out").sum() == 10

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
    def test_links_and_devices_are_refused(self, tmp_path: Path, kind: bytes) -> None:
        member = tarfile.TarInfo("train/cat/1.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive = cifar_tar(tmp_path / "c.tar", ALL_CLASSES, member)
        assert_user_error(f"cifar10:{archive}", "a link or a special file")

    def test_a_member_larger_than_the_archive_is_corrupt(self, tmp_path: Path) -> None:
        archive = cifar_tar(tmp_path / "c.tar", ALL_CLASSES)
        source = open_source(f"cifar10:{archive}")
        archive.write_bytes(archive.read_bytes()[:700])
        with pytest.raises(CorruptImageError, match=r"c\.tar:test/airplane/0\.jpg"):
            source.load(0)

    def test_wrong_classes_and_wrong_files(self, tmp_path: Path) -> None:
        archive = cifar_tar(tmp_path / "c.tar", ["train/cat/0.jpg", "test/dog/0.jpg"])
        assert_user_error(f"cifar10:{archive}", "classes cat, dog; expected the ten of CIFAR-10")
        assert_user_error(f"cifar10:{cifar_tar(tmp_path / 'none.tar', ['a.jpg'])}", "no images in")
        (tmp_path / "text.tar").write_text("not an archive")
        assert_user_error(f"cifar10:{tmp_path / 'text.tar'}", "expected an uncompressed tar file")
        assert_user_error(f"cifar10:{tmp_path / 'missing'}", "no such file or folder")
        (tmp_path / "empty").mkdir()
        assert_user_error(f"cifar10:{tmp_path / 'empty'}", "does not hold CIFAR-10")

    def test_altered_pickles_are_never_opened(self, tmp_path: Path) -> None:
        marker = tmp_path / "executed"

        class Malicious:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.system, (f"touch {marker}",)

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
        for name in names:
            (folder / name).write_bytes(pickle.dumps(Malicious()))
        for data in (tmp_path, folder):
            assert_user_error(f"cifar10:{data}", "checksums differ")
        assert not marker.exists()

    def test_a_failed_download_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from bitfront.evaluators.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        import torchvision.datasets

        def unreachable(self: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "kept"))
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", unreachable)
        with pytest.raises(BitfrontError, match=r"no route to host; .*--data cifar10:DIR") as caught:
            open_source("cifar10")
        assert caught.value.exit_status == 1
        assert (tmp_path / "kept").is_dir()

    def test_without_a_cache_folder_nothing_is_downloaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BITFRONT_CACHE", "off")
        assert_user_error("cifar10", "name one with BITFRONT_CACHE, or pass a copy with --data cifar10:DIR")

    def test_the_cache_folder_is_where_torchvision_keeps_its_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[Path, bool]] = []

        def files(root: Path, *, download: bool) -> cifar10.Cifar10Arrays:
            asked.append((root, download))
            images = np.zeros((1, 32, 32, 3), dtype=np.uint8)
            return cifar10.Cifar10Arrays((images, [0]), (images, [1]))

        monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "kept"))
        monkeypatch.setattr(cifar10, "_torchvision_files", files)
        assert len(open_source("cifar10")) == 2
        assert asked == [(tmp_path / "kept", True)]


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is absent")
class TestSharedData:
    def test_cifar10(self) -> None:
        source = open_source(f"cifar10:{SHARED / 'cifar10'}")
        assert len(source) == 55_000
        assert source.partition is not None
        assert (source.partition == "train").sum() == 50_000
        assert np.bincount(source.labels).tolist() == [5_500] * 10
        assert source.load(54_999).size == (32, 32)

    def test_photographs(self) -> None:
        source = open_source(str(SHARED / "imagenet-compatible" / "labels.csv"))
        assert len(source) == 1000
        assert len(np.unique(source.labels)) == 430
        assert source.load(0).size == (299, 299)


class TestContract(ImageSourceContract):
    @pytest.fixture(params=["digits", "folder", "labels.csv", "cifar10"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
        if request.param == "cifar10":
            return open_source(f"cifar10:{cifar_tar(tmp_path / 'cifar10.tar', ALL_CLASSES)}")
        for name in ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/dog/d.png"):
            write_image(tmp_path / "images" / name)
        (tmp_path / "labels.csv").write_text("path,label\nimages/train/cat/a.png,0\nimages/val/dog/d.png,1\n")
        places = {"folder": str(tmp_path / "images"), "labels.csv": str(tmp_path / "labels.csv")}
        return open_source(places.get(request.param, "digits"))
