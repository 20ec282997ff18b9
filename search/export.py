"""Exporting a point of a front as a bit config."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bitfront.search.atomic import explained, write_atomically
from bitfront.search.run_reader import Run
from bitfront.search.selection import pick
from bitfront.search.space_file import read_space
from bitfront.search.spec import bitfront_version
from bitfront.spaces import BitConfig, UserError

_MEASURED = ("top1", "loss", "latency_ms", "latency_measured_ms", "size_bytes", "test_top1")


def export_config(run: Run, choice: str, output: Path | None = None, force: bool = False) -> Path:
    """Writes a front point as a bit config.

    Args:
        run: The run.
        choice: ``knee``, ``top1``, ``latency``, ``size`` or a trial number.
        output: The file; ``exports/<choice>-<digest>.json`` in the run folder by default.
        force: Whether a file with other content may be overwritten.

    Returns:
        The file that now holds the config.

    Raises:
        UserError: There is no such point, the run's files contradict one another, or another file is there.
        BitfrontError: The file cannot be written.
    """
    row = pick(run.front, choice, run.objectives)
    config = config_of(run, row)
    name = f"trial{choice}" if choice.isdecimal() else choice
    path = output or run.path / "exports" / f"{name}-{config.digest}.json"
    document = config.to_json(measured(row), provenance(run, row))
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if not force and _differs(path, text):
        raise UserError(
            f"{path} exists and holds something else: choose another file with --output, or overwrite it "
            "with --force"
        )
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return path


def config_of(run: Run, row: pd.Series) -> BitConfig:
    """The configuration of a front row.

    Raises:
        UserError: The genes do not belong to the run's search space, or give another digest.
    """
    space = read_space(run.path)
    missing = [name for name in space.gene_names if name not in row.index]
    if missing:
        raise UserError(f"{run.path / 'front.csv'} has no column {missing[0]!r} of the run's search space")
    bits = [float(row[name]) for name in space.gene_names]
    strange = [value for value in bits if value not in space.widths]
    if strange:
        raise UserError(
            f"{run.path / 'front.csv'}: trial {row['trial']} has a gene of {strange[0]:g} bits; "
            f"the run's search space has {', '.join(map(str, space.widths))}"
        )
    config = space.decode(np.array([space.widths.index(int(value)) for value in bits], dtype=np.int64))
    if config.digest != row["digest"]:
        raise UserError(
            f"{run.path / 'front.csv'}: trial {row['trial']} has digest {row['digest']}, but its genes give "
            f"{config.digest}; the file was changed: restore it"
        )
    return config


def measured(row: pd.Series) -> dict[str, Any]:
    """What the run measured of a front point; None where it did not."""
    values: dict[str, Any] = {name: _plain(row[name]) for name in _MEASURED}
    return {**values, "latency_source": row["latency_source"] or None}


def provenance(run: Run, row: pd.Series) -> dict[str, Any]:
    """Where a front point comes from: enough to find it again and to repeat the run."""
    return {
        "bitfront": bitfront_version(),
        "run": run.name,
        "trial": int(row["trial"]),
        "digest": str(row["digest"]),
        "space": run.spec.get("space"),
        "sampler": run.spec.get("sampler"),
        "seed": run.spec.get("seed"),
        "recipe": run.evaluation.get("recipe"),
        "without": run.evaluation.get("without"),
        "evaluation": run.evaluation,
    }


def _plain(value: Any) -> float | int | None:
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") != text
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
