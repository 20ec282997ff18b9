"""Opening of an image source by the name or path a user gives to ``--data``."""

from __future__ import annotations

from pathlib import Path

from bitfront.evaluators.data.cifar10 import download_cifar10, read_cifar10
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.image_folder import read_image_folder
from bitfront.evaluators.data.labels_csv import read_labels_csv
from bitfront.evaluators.data.source import ImageSource
from bitfront.spaces import UserError

FORMS = "digits, cifar10, cifar10:PATH, a folder with one sub-folder per class, or a labels.csv file"


def open_source(data: str) -> ImageSource:
    """The source that ``data`` names: one of :data:`FORMS`.

    Raises:
        UserError: There is no such source, or it holds no usable images.
        BitfrontError: CIFAR-10 cannot be downloaded.
    """
    if data == "digits":
        return DigitsSource()
    if data == "cifar10":
        return download_cifar10()
    if data.startswith("cifar10:") and data != "cifar10:":
        return read_cifar10(Path(data.removeprefix("cifar10:")))
    path = Path(data)
    if not data or not path.exists():
        raise UserError(f"no such data: {data!r}; expected {FORMS}")
    if path.is_dir():
        return read_image_folder(path, data)
    if path.suffix.lower() != ".csv":
        raise UserError(f"{data} is a file that is not a .csv table; expected {FORMS}")
    return read_labels_csv(path, data)
