"""The folder of a study: trainings, outputs and records, each of which is there as soon as it is paid for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import check_writable, explained, finite, replacing, write_atomically
from bitfront.search.runs.files import read_json
from bitfront.search.session.study_spec import SETTINGS, StudySpec
from bitfront.spaces import UserError

if TYPE_CHECKING:
    import torch

TRAININGS = "trainings"
_OUTPUTS, _RECORDS, _REFINED, _MODELS = "outputs", "records", "refined", "models"
FIGURES = "figures.json"
TABLES = {"csv": "study.csv", "markdown": "study.md", "latex": "study.tex"}
# Splits by which figures are reported, as `bitfront` and as papers call them.
SPLITS = {"search": "validation", "test": "test"}


@dataclass(frozen=True)
class StudyFolder:
    """Where a study is.

    Attributes:
        path: The folder.
    """

    path: Path

    def check_new(self, spec: StudySpec, resume: str, overwrite: bool) -> None:
        """Finds out before long work whether a study can be written, and makes the folder.

        A folder of the same study goes on, and trainings that lie ready in ``trainings`` are taken.

        Args:
            spec: What is asked for.
            resume: The command that goes on with the study in the folder.
            overwrite: Whether another study in the folder is replaced.

        Raises:
            UserError: It cannot be written, or holds another study or other files.
        """
        if self.path.is_file():
            raise UserError(f"{self.path} is a file: name a folder for the study")
        if (self.path / SETTINGS).is_file():
            if overwrite:
                self._clear()
            elif StudySpec.read(self.path) != spec:
                raise UserError(
                    f"{self.path} holds a study of other settings: go on with it by `{resume}`, choose "
                    "another folder, or begin again with --force"
                )
        elif not overwrite and self._others():
            raise UserError(f"{self.path} holds files: choose another folder, or write into it with --force")
        check_writable(self.path / SETTINGS, make_folder=True)
        self.make()

    def _others(self) -> bool:
        """Whether the folder holds something else than trainings."""
        return self.path.is_dir() and any(part.name != TRAININGS for part in self.path.iterdir())

    def make(self) -> None:
        """Makes the folders within."""
        with explained(self.path):
            for name in (TRAININGS, _OUTPUTS, _RECORDS, _REFINED, _MODELS):
                (self.path / name).mkdir(exist_ok=True)

    def _clear(self) -> None:
        with explained(self.path):
            for name in (TRAININGS, _OUTPUTS, _RECORDS, _REFINED, _MODELS):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in (SETTINGS, FIGURES, *TABLES.values()):
                (self.path / name).unlink(missing_ok=True)

    def training(self, name: str) -> Path:
        """The folder of a training."""
        return self.path / TRAININGS / name

    def refined(self, name: str) -> Path:
        """The folder of a refinement."""
        return self.path / _REFINED / name

    @property
    def models(self) -> Path:
        """Where files are that are timed."""
        return self.path / _MODELS

    def record(self, name: str) -> dict[str, Any] | None:
        """A record, or None where it is not written yet.

        Raises:
            UserError: It is damaged.
        """
        path = self.path / _RECORDS / f"{name}.json"
        return read_json(path, dict) if path.is_file() else None

    def write_record(self, name: str, document: Mapping[str, Any]) -> None:
        """Writes a record as a whole."""
        text = json.dumps(finite(document), indent=1, default=str) + "\n"
        write_atomically(self.path / _RECORDS / f"{name}.json", text)

    def remove_record(self, name: str) -> None:
        """Removes a record, where it is there."""
        path = self.path / _RECORDS / f"{name}.json"
        with explained(path):
            path.unlink(missing_ok=True)

    def has_outputs(self, name: str) -> bool:
        """Whether the outputs of a model are there."""
        return self._outputs(name).is_file()

    def _outputs(self, name: str) -> Path:
        return self.path / _OUTPUTS / f"{name}.safetensors"

    def outputs(self, name: str) -> dict[str, torch.Tensor]:
        """The outputs of a model by split, and labels as ``SPLIT_labels``.

        Raises:
            UserError: The file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._outputs(name)
        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is damaged ({error}): remove it, and go on with --resume") from error

    def write_outputs(self, name: str, outputs: Mapping[str, torch.Tensor]) -> None:
        """Writes the outputs of a model as a whole."""
        from safetensors.torch import save_file

        path = self._outputs(name)
        with explained(path), replacing(path) as part:
            save_file({key: value.contiguous() for key, value in outputs.items()}, part)

    @contextmanager
    def placing(self, path: Path) -> Iterator[Path]:
        """A file to write in place of ``path``, which is there as a whole or not at all."""
        with explained(path), replacing(path) as part:
            yield part
