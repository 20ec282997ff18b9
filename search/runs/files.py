"""Files of a run folder: tables and JSON are read, incomplete last lines are cut, errors name the file."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import PLACES, EvaluationSpec
from bitfront.evaluators.files import explained, parsed_json, readable
from bitfront.evaluators.tasks.registry import GENERATION
from bitfront.search.runs.columns import Column
from bitfront.search.runs.names import run_command
from bitfront.spaces import UserError
from bitfront.spaces.formats import written_format

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SPEC = "spec.json"
# Of the trials and of the front; the former is there once something was evaluated.
TRIALS, FRONT = "trials.csv", "front.csv"
# What a resumed run writes again; other files it reads.
WRITTEN_AGAIN = (TRIALS, FRONT, "summary.json", "references.json", "right_images.csv", "progress.json")
# Holds a model and images that were given as Python objects.
INPUTS = "inputs"
# Holds what refining made of points.
REFINED = "refined"


def read_json(path: Path, kind: type, absent: Any = None) -> Any:
    """The JSON document in ``path``, which must be of type ``kind``; ``absent`` if there is no file.

    Raises:
        UserError: The file is absent and ``absent`` is None, or it is not such a document.
    """
    try:
        with readable(path):
            text = path.read_text(encoding="utf-8")
        document = parsed_json(text)
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise absent_file(path) from None
    except ValueError as error:
        raise damaged_file(path, error) from error
    if not isinstance(document, kind):
        raise damaged_file(path, f"expected a JSON {'object' if kind is dict else 'array'}")
    return document


def read_table(
    path: Path,
    columns: Mapping[str, Column],
    required: Sequence[str],
    genes: Iterable[str] = (),
    text: str | None = None,
) -> pd.DataFrame:
    """A CSV table of a run: numbers as float64 (NaN where empty), ``feasible`` as booleans.

    Genes are float64, too, where widths are all that they have, else widths and names of formats.

    Args:
        path: The file.
        columns: The columns that are known, by name.
        required: Columns that it must have, besides those of the genes.
        genes: Names of the gene columns.
        text: What is read in place of the file's content.

    Raises:
        UserError: The file is absent, is not a CSV table, lacks a column or has text where a number belongs.
    """
    import pandas as pd

    texts = {column.name: str for column in columns.values() if column.kind != "number"}
    try:
        with readable(path):
            table = pd.read_csv(path if text is None else io.StringIO(text), dtype=texts)
        missing = [column for column in (*required, *genes) if column not in table.columns]
        if missing:
            raise damaged_file(path, f"there is no column {missing[0]!r}")
        return _typed(table, columns, genes)
    except FileNotFoundError:
        raise absent_file(path) from None
    except (ValueError, TypeError) as error:
        raise damaged_file(path, error) from error


def _typed(table: pd.DataFrame, columns: Mapping[str, Column], genes: Iterable[str]) -> pd.DataFrame:
    import pandas as pd

    known = [column for name, column in columns.items() if name in table.columns]
    numbers = [column.name for column in known if column.kind == "number"]
    texts = [column.name for column in known if column.kind == "text"]
    flags = [column.name for column in known if column.kind == "flag"]
    table = table.assign(
        **{name: pd.to_numeric(table[name]).astype(float) for name in numbers},
        **{name: _formats(table[name]) for name in genes},
        **{name: table[name].fillna("") for name in texts},
        **{name: table[name].str.lower().isin(["true", "1"]) for name in flags},
    )
    if not table["trial"].is_unique:
        raise ValueError("a trial stands in several rows")
    return table.assign(trial=table["trial"].astype("int64"))


def _formats(column: pd.Series) -> pd.Series:
    """Widths as numbers; where there are names of formats, these and whole numbers (None where empty)."""
    import pandas as pd

    known = column.dropna()
    for value in known.unique():
        written_format(value)
    if pd.to_numeric(known, errors="coerce").notna().all():
        return pd.to_numeric(column).astype(float)
    return pd.Series([written_format(value) for value in column], index=column.index, dtype=object)


def absent_file(path: Path) -> UserError:
    """The error for a file that a run lacks."""
    return UserError(
        f"{path} is missing: the run has no results yet or lost the file; "
        f"wait for it, or go on with `{_resume(path)}`"
    )


def damaged_file(path: Path, reason: object) -> UserError:
    """The error for a file that cannot be read as what it should be."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    again = path.name in WRITTEN_AGAIN
    remedy = f"restore it, or write it again with `{_resume(path)}`" if again else "restore it from a copy"
    return UserError(f"{path} is damaged ({lines[0]}): {remedy}")


def _resume(path: Path) -> str:
    """The command that goes on with the run that a file is of."""
    return run_command(path.parent, "search", "--resume", path.parent.name)


def cut_incomplete_line(path: Path) -> int:
    """Cuts off what a killed process left incomplete at the end of a file of JSON objects, one to a line.

    Only the one process that writes the file may call this. An incomplete line was never acknowledged, so
    nothing that was reported as recorded is lost.

    Returns:
        How many bytes were cut; 0 where there is no file.
    """
    if not path.exists():
        return 0
    content = path.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    while kept and not _is_object(last := kept[kept.rfind(b"\n", 0, -1) + 1 :]):
        kept = kept[: -len(last)]
    cut = len(content) - len(kept)
    if cut:
        logger.warning("%s: cut an incomplete last line of %d bytes", path.name, cut)
        with explained(path), path.open("r+b") as file:
            file.truncate(len(kept))
    return cut


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parsed_json(line), dict)
    except ValueError:
        return False


def portable(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A run spec as JSON whose files in the run folder are named by their places in it.

    A run folder that is moved keeps what was given as Python objects; other files stay where they are.
    """
    own = folder.absolute()

    def within(place: str) -> str:
        path = Path(place)
        return path.relative_to(own).as_posix() if path.is_relative_to(own / INPUTS) else place

    return _with_places(spec, within)


def located(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The inverse of :func:`portable`, for wherever the run folder is now."""
    return _with_places(
        spec, lambda place: str(folder.absolute() / place) if place.startswith(f"{INPUTS}/") else place
    )


def where_inputs_are(spec: EvaluationSpec, folder: Path) -> EvaluationSpec:
    """A spec that was recorded before the run folder was moved, with the files in it where they are now."""

    def found(_: str, place: str) -> str:
        for own in (INPUTS, REFINED):
            _, inside, name = place.rpartition(f"{os.sep}{own}{os.sep}")
            here = folder.absolute() / own / name
            if inside and not Path(place).exists() and here.exists():
                return str(here)
        return place

    return spec.placed(found)


def is_generation(folder: Path) -> bool:
    """Whether a run folder is of this task; False where it does not say."""
    try:
        document: Any = parsed_json((folder / SPEC).read_text(encoding="utf-8"))
        return bool(document["evaluation"]["task"] == GENERATION)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _with_places(spec: Mapping[str, Any], placed: Callable[[str], str]) -> dict[str, Any]:
    evaluation = spec.get("evaluation")
    if not isinstance(evaluation, dict):
        return dict(spec)
    places = {name: evaluation.get(name) for name in PLACES}
    moved = {name: placed(place) for name, place in places.items() if isinstance(place, str)}
    return {**spec, "evaluation": {**evaluation, **moved}}


def read_spec_document(folder: Path) -> dict[str, Any]:
    """The ``spec.json`` of a run folder, with the files in it by absolute paths.

    Raises:
        UserError: It is missing or damaged.
    """
    document = located(read_json(folder / SPEC, dict), folder)
    if not isinstance(document.get("evaluation") or {}, dict):
        raise damaged_file(folder / SPEC, "its evaluation is no JSON object")
    return document
