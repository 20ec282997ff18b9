"""CIFAR-10: downloaded by torchvision, or a local copy (torchvision's files, class folders, a tar file)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.class_folders import read_image_folder
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.source import HELD_OUT, TRAIN
from bitfront.evaluators.data.tar_images import TarImages, read_tar
from bitfront.evaluators.files import CACHE_VARIABLE, cache_folder
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TORCHVISION_FOLDER = "cifar-10-batches-py"
_LOCAL_FORMS = f"{TORCHVISION_FOLDER}, train/<class>/ and test/<class>/, or a tar file of the latter"

Labelled = tuple[NDArray[np.uint8], list[int]]  # pixels [images, 32, 32, 3] and class indices


class Cifar10Arrays:
    """The 60,000 images of torchvision's files, of which 50,000 are ``train`` and 10,000 ``held-out``."""

    name = "cifar10"
    class_names = CLASSES

    def __init__(self, train: Labelled, test: Labelled) -> None:
        self._pixels = np.concatenate([train[0], test[0]])
        self.labels = np.array(train[1] + test[1], dtype=np.int64)
        self.partition: NDArray[np.str_] = np.array([TRAIN] * len(train[1]) + [HELD_OUT] * len(test[1]))

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        """The image at ``index``, mode ``RGB``, 32x32."""
        return Image.fromarray(self._pixels[index])

    def describe(self, index: int) -> str:
        """``cifar10 image <index>``."""
        return f"cifar10 image {index}"


def download_cifar10() -> Cifar10Arrays:
    """CIFAR-10 from torchvision's address, kept in the cache folder (``BITFRONT_CACHE``).

    Raises:
        UserError: There is no cache folder to keep it in.
        BitfrontError: It cannot be downloaded.
    """
    cache = cache_folder(os.environ)
    if cache is None:
        raise UserError(
            f"CIFAR-10 is downloaded into the cache folder, and there is none: name one with "
            f"{CACHE_VARIABLE}, or pass a copy with --data cifar10:DIR or cifar10:FILE.tar"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _torchvision_files(cache, download=True)
    except (OSError, RuntimeError) as error:
        raise BitfrontError(
            f"cannot download CIFAR-10 into {cache}: {one_line(error)}; "
            "with a copy at hand, pass --data cifar10:DIR or cifar10:FILE.tar"
        ) from error


def read_cifar10(path: Path) -> Cifar10Arrays | ImageFiles | TarImages:
    """A local copy: torchvision's files, class folders, or a tar file of those (also inside a folder).

    Raises:
        UserError: The path is missing or holds none of these.
    """
    name = f"cifar10:{path}"
    if path.is_file():
        return _checked(read_tar(path, name))
    if not path.is_dir():
        raise UserError(
            f"no such file or folder: {path}; expected a tar file or a folder with {_LOCAL_FORMS}"
        )
    root = path.parent if path.name == TORCHVISION_FOLDER else path
    if (root / TORCHVISION_FOLDER).is_dir():
        try:
            return _torchvision_files(root, download=False)
        except RuntimeError as error:
            raise UserError(
                f"the files in {root / TORCHVISION_FOLDER} are incomplete or altered (checksums differ); "
                "expected the original CIFAR-10 python version: download it again"
            ) from error
    if (path / "train").is_dir():
        return _checked(read_image_folder(path, name))
    archives = sorted(path.glob("*.tar"))
    if len(archives) != 1:
        raise UserError(f"{path} does not hold CIFAR-10; expected {_LOCAL_FORMS}")
    return _checked(read_tar(archives[0], name))


def _torchvision_files(root: Path, *, download: bool) -> Cifar10Arrays:
    # These files are pickles, the one exception to never unpickling outside data: torchvision compares the
    # MD5 sum of every file with that of the original first, so only the published bytes are unpickled.
    ensure_torchvision()
    from torchvision.datasets import CIFAR10

    parts: list[Any] = [CIFAR10(str(root), train=train, download=download) for train in (True, False)]
    train, test = ((part.data, list(part.targets)) for part in parts)
    return Cifar10Arrays(train, test)


def _checked(source: ImageFiles | TarImages) -> ImageFiles | TarImages:
    if source.class_names != CLASSES:
        raise UserError(
            f"{source.name} has the classes {', '.join(source.class_names or ())[:80]}; "
            f"expected the ten of CIFAR-10: {', '.join(CLASSES)}"
        )
    return source
