"""Exports: which configuration of a run, what its files say of it, and where they are put."""

from __future__ import annotations

import filecmp
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bitfront.evaluators.files import check_writable, explained, write_atomically
from bitfront.search.export.selection import Choice, choice_text, chosen_row
from bitfront.search.problem.spec import bitfront_version
from bitfront.search.runs.folder import read_space
from bitfront.search.runs.names import run_command
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.refined import file_of
from bitfront.spaces import KINDS, BitConfig, UserError, parse_uniform
from bitfront.spaces.formats import label

# Prepared by every run, whatever its widths.
_REFERENCE_BITS = 8


@dataclass(frozen=True)
class Chosen:
    """What is exported.

    Attributes:
        config: The configuration.
        name: What its files are called, such as ``knee-0123456789ab``.
        measured: What the run measured of it; empty where it is no point of the front.
        provenance: Where it comes from.
    """

    config: BitConfig
    name: str
    measured: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def document(self, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The bit config document, with what is known of the float model, such as its ``preprocessing``."""
        return self.config.to_json(self.measured, {**self.provenance, **(model or {})})


def chosen_point(run: RecordedRun, choice: Choice) -> Chosen:
    """A point of a run's front.

    Args:
        run: The run.
        choice: ``knee``, an objective such as ``top1``, ``latency`` or ``size``, weights by objective, or a
            trial number.

    Raises:
        UserError: There is no such point, or the run's files contradict one another.
    """
    row = chosen_row(run, choice)
    config = config_of(run, row)
    text = choice_text(choice)
    # A metric of a class has a colon, which Windows has not in names of files.
    name = f"trial{text}" if text.isdecimal() else "weights" if "=" in text else text.replace(":", "-")
    label = f"-{run.prices.label}" if run.prices else ""
    return Chosen(config, f"{name}{label}-{config.digest}", measured(run, row), provenance(run, row))


def refined_point(run: RecordedRun, choice: Choice) -> tuple[Chosen, Path]:
    """A point of a run's front as it was refined, and the file of what was learned.

    Args:
        run: The run.
        choice: As of :func:`chosen_point`; the choice is among the points as they were searched.

    Raises:
        UserError: There is no such point, or it is not refined.
    """
    chosen = chosen_point(run, choice)
    trial, digest = int(chosen.provenance["trial"]), chosen.config.digest
    point = next((point for point in run.refined if point.digest == digest), None)
    if point is None:
        command = run_command(run.path, "refine", run.name, "--pick", trial)
        raise UserError(f"trial {trial} is not refined: refine it with `{command}`, or leave --refined out")
    file = file_of(run.path, digest)
    if not file.is_file():
        raise UserError(f"{file} is missing: restore it, or refine trial {trial} again with --force")
    after, tested = point.search.after.values, point.test.after.values
    known = {**after, **{f"test_{name}": value for name, value in tested.items()}}
    evaluation = {**chosen.provenance["evaluation"], "refinement": str(file.absolute())}
    return Chosen(
        chosen.config,
        f"{chosen.name.removesuffix(f'-{digest}')}-refined-{digest}",
        {name: known.get(name, value) for name, value in chosen.measured.items()},
        {**chosen.provenance, "evaluation": evaluation, "refined": {"images": point.images}},
    ), file


def chosen_uniform(run: RecordedRun, text: str) -> Chosen:
    """The same formats in every encoder of a run's model.

    Args:
        run: The run.
        text: Such as ``W8A8T8``; the formats must be ones that the run prepared.

    Raises:
        UserError: The text is not of that form, or the run prepared no such format.
    """
    formats, space = parse_uniform(text), read_space(run.path)
    for kind, value in zip(KINDS, formats, strict=True):
        if value not in (*space.choices.of(kind), _REFERENCE_BITS):
            what, where = ("widths", "") if space.choices.same else ("formats", f" for {kind}")
            raise UserError(
                f"--uniform {text}: run {run.name} has the {what} {space.choices.words}, not {value}{where}"
            )
    config = BitConfig.uniform(space.model, space.scheme, space.encoders, formats)
    return Chosen(config, f"{label(formats)}-{config.digest}", {}, _origin(run))


def write_config(
    document: Mapping[str, Any], path: Path, force: bool = False, make_folder: bool = False
) -> None:
    """Writes a document as JSON.

    Args:
        document: What is written.
        path: The file.
        force: Whether a file with other content may be overwritten.
        make_folder: Whether its folder is made where it is missing.

    Raises:
        UserError: Another file is there, or the place cannot be written.
        BitfrontError: The disk is full.
    """
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if not force and _differs(path, text.encode()):
        raise _taken(path)
    check_writable(path, make_folder=make_folder)
    write_atomically(path, text)


def place_files(written: Sequence[Path], path: Path, force: bool = False) -> list[Path]:
    """Moves files from a scratch folder on the same disk to where they shall be, each as a whole.

    Args:
        written: The files, the one that is loaded first; the others keep their endings.
        path: What the first one shall be called.
        force: Whether files with other content may be overwritten.

    Returns:
        The files in their places.

    Raises:
        UserError: Other files are there, or the place cannot be written.
    """
    targets = [path, *(path.with_suffix(file.suffix) for file in written[1:])]
    for file, target in zip(written, targets, strict=True):
        if not force and target.exists() and not filecmp.cmp(file, target, shallow=False):
            raise _taken(target)
    # The one that is loaded comes last: where it is, the others are.
    for file, target in reversed(list(zip(written, targets, strict=True))):
        with explained(target):
            file.replace(target)
    return targets


def _taken(path: Path) -> UserError:
    return UserError(
        f"{path} exists and holds something else: choose another file with --output, or overwrite it with "
        "--force"
    )


def config_of(run: RecordedRun, row: pd.Series) -> BitConfig:
    """The configuration of a front row.

    Raises:
        UserError: The genes do not belong to the run's search space, or give another digest.
    """
    space = read_space(run.path)
    missing = [name for name in space.gene_names if name not in row.index]
    if missing:
        raise UserError(f"{run.path / 'front.csv'} has no column {missing[0]!r} of the run's search space")
    genome = [
        gene.choices.index(row[gene.name]) if row[gene.name] in gene.choices else -1 for gene in space.genes
    ]
    if -1 in genome:
        strange = space.genes[genome.index(-1)]
        value = row[strange.name]
        raise UserError(
            f"{run.path / 'front.csv'}: trial {row['trial']} has a gene of "
            f"{value if isinstance(value, str) else f'{value:g} bits'}; "
            f"the run's search space has {', '.join(map(str, strange.choices))}"
        )
    config = space.decode(np.array(genome, dtype=np.int64))
    if config.digest != row["digest"]:
        raise UserError(
            f"{run.path / 'front.csv'}: trial {row['trial']} has digest {row['digest']}, but its genes give "
            f"{config.digest}; the file was changed: restore it"
        )
    return config


def measured(run: RecordedRun, row: pd.Series) -> dict[str, Any]:
    """What the run measured of a front point; None where it did not. Its number stands in the provenance."""
    names = [column.name for column in run.schema.leading if column.kind == "number"]
    values: dict[str, Any] = {name: _plain(row[name]) for name in names if name != "trial"}
    return {**values, "latency_source": row["latency_source"] or None}


def provenance(run: RecordedRun, row: pd.Series) -> dict[str, Any]:
    """Where a front point comes from: enough to find it again and to repeat the run."""
    return {**_origin(run), "trial": int(row["trial"]), "digest": str(row["digest"])}


def _origin(run: RecordedRun) -> dict[str, Any]:
    """What holds for every configuration of a run."""
    return {
        **origin(run.name, run.spec),
        # Costs by another source than the search went by: by which it was chosen.
        **({"prices": run.prices.asked} if run.prices else {}),
    }


def origin(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings of a run say of where its configurations come from."""
    evaluation = dict(spec.get("evaluation") or {})
    return {
        "bitfront": bitfront_version(),
        "run": name,
        **{setting: spec.get(setting) for setting in ("space", "sampler", "seed")},
        **{setting: evaluation.get(setting) for setting in ("recipe", "without")},
        "evaluation": evaluation,
    }


def _plain(value: Any) -> float | int | None:
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
