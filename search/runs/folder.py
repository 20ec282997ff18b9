"""The run store: one folder per run, with names that stay inside of it, and its search space."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import explained, write_atomically
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.files import SPEC, damaged_file, portable, read_json, read_spec_document
from bitfront.search.runs.locks import run_lock
from bitfront.search.runs.names import checked_name, command_line, plain_name, runs_dir_options
from bitfront.spaces import KINDS, BitfrontError, Choices, EncoderLayers, FormatName, SearchSpace, UserError

# Files of a run: its search space, the images of each split, the gradient scores of its genes, and their
# spectral sensitivities.
SPACE, SPLITS, GENE_SCORES = "space.json", "splits.json", "gene_scores.json"
SPECTRAL_SCORES = "spectral_scores.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    def lock(self) -> AbstractContextManager[None]:
        """The run's lock, to hold while writing: ``with folder.lock(): ...``."""
        return run_lock(self.path)

    def write_text(self, name: str, text: str) -> Path:
        """Writes a file as a whole or not at all; see :func:`bitfront.evaluators.files.write_atomically`."""
        write_atomically(self.path / name, text)
        return self.path / name

    def write_json(self, name: str, document: Mapping[str, Any] | Sequence[Any]) -> Path:
        """Writes a JSON document, as a whole or not at all."""
        return self.write_text(name, json.dumps(document, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads a JSON object.

        Raises:
            UserError: The file is missing or damaged.
        """
        document: dict[str, Any] = read_json(self.path / name, dict)
        return document

    def write_spec(self, spec: RunSpec) -> None:
        """Writes ``spec.json``."""
        self.write_json(SPEC, portable(spec.to_json(), self.path))

    def read_spec(self) -> RunSpec:
        """Reads ``spec.json``; raises :class:`UserError` where it has another version."""
        return RunSpec.from_json(read_spec_document(self.path))

    @contextmanager
    def resumable(
        self, command: Callable[[], str], *, begun: str = SPACE, new: bool = True
    ) -> Iterator[None]:
        """Adds to a failure how to go on; removes a new folder without any evaluation.

        Args:
            command: Gives what goes on.
            begun: Name of a file that is there once something was evaluated.
            new: Whether the folder was made for this block: what is resumed is there to be kept, however
                little of it was written.

        Raises:
            BitfrontError: The block raised one that is no mistake of the user's.
        """
        try:
            yield
        except BaseException as error:
            if not (self.path / begun).exists():
                if new:
                    shutil.rmtree(self.path, ignore_errors=True)
                raise
            if isinstance(error, BitfrontError) and not isinstance(error, UserError):
                raise BitfrontError(
                    f"{error}; every evaluation recorded so far is kept: go on with `{command()}`"
                ) from error
            raise

    @contextmanager
    def log_file(self) -> Iterator[None]:
        """Keeps what the library logs in ``log.txt`` meanwhile, added to what is there."""
        with explained(self.path / "log.txt"):
            handler = _RunLog(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        library = logging.getLogger("bitfront")
        level = library.level
        library.addHandler(handler)
        library.setLevel(min(level or logging.INFO, logging.INFO))
        try:
            yield
        finally:
            library.removeHandler(handler)
            library.setLevel(level)
            handler.close()


class _RunLog(logging.FileHandler):
    """A log file that does not print tracebacks over the progress display when the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Drops the record: the study's own write reports the disk."""


class RunStore:
    """The folder that holds the runs.

    Args:
        root: That folder; made with the first run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str) -> RunFolder:
        """Makes the folder of a new run.

        Raises:
            UserError: The name is taken or not a plain name, or the place is not writable.
            BitfrontError: The disk is full.
        """
        path = self.root / checked_name(name)
        self.made()
        with explained(path):
            try:
                path.mkdir()
            except FileExistsError as error:
                raise UserError(
                    f"run {name!r} exists already in {self.root}: go on with --resume {name}, or choose "
                    "another --run"
                ) from error
        return RunFolder(path)

    def made(self) -> Path:
        """The folder that holds the runs, which is made where it is missing.

        Raises:
            UserError: The place is not writable.
        """
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return self.root

    def open(self, name: str) -> RunFolder:
        """The folder of an earlier run.

        Raises:
            UserError: There is no such run.
        """
        path = self.root / checked_name(name)
        if not (path / SPEC).is_file():
            listed = command_line("runs", *runs_dir_options(self.root))
            raise UserError(f"there is no run {name!r} in {self.root}: `{listed}` lists those there are")
        return RunFolder(path)

    def default_name(self, model: str) -> str:
        """A free name of model and time, such as ``digits_deit-20260131-143012``."""
        plain = plain_name(model).lstrip(".-") or "run"
        base = f"{plain[:70]}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = (base if i == 1 else f"{base}-{i}" for i in range(1, 1000))
        return next(name for name in names if not (self.root / name).exists())


def write_space(folder: Path, space: SearchSpace) -> Path:
    """Writes ``space.json`` into a run folder and returns its path."""
    document: dict[str, Any] = {
        "model": space.model,
        "scheme": space.scheme,
        "granularity": space.granularity,
        "widths": list(space.choices.every),
        # Only where they differ: spaces of earlier versions have the same formats for all kinds.
        **({} if space.choices.same else {"formats": {k: list(space.choices.of(k)) for k in KINDS}}),
        "held": dict(space.fixed),
        # Only where there are any: spaces of earlier versions have none.
        **({"kept": space.kept} if space.kept else {}),
        "encoders": [
            {"index": encoder.index, "name": encoder.name, "linear": list(encoder.linear)}
            for encoder in space.encoders
        ],
    }
    path = folder / SPACE
    write_atomically(path, json.dumps(document, indent=2) + "\n")
    return path


def read_space(folder: Path) -> SearchSpace:
    """The search space of a run.

    Raises:
        UserError: ``space.json`` is absent or is not a search space.
    """
    path = folder / SPACE
    document = read_json(path, dict)
    try:
        encoders = [
            EncoderLayers(int(e["index"]), str(e["name"]), tuple(map(str, e["linear"])))
            for e in document["encoders"]
        ]
        return SearchSpace(
            str(document["model"]),
            str(document["scheme"]),
            encoders,
            _read_choices(document),
            document["granularity"],
            [(kind, _read_format(value)) for kind, value in document.get("held", {}).items()],
            [(str(name), _read_format(value)) for name, value in document.get("kept", {}).items()],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


def _read_choices(document: Mapping[str, Any]) -> Choices:
    by_kind = document.get("formats") or dict.fromkeys(KINDS, document["widths"])
    return Choices(*(tuple(map(_read_format, by_kind[kind])) for kind in KINDS))


def _read_format(value: Any) -> FormatName:
    return value if isinstance(value, str) else int(value)
