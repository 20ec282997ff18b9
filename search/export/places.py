"""Places of weights and data in what is shipped: names without folders, and how they are found again.

What leaves a machine says what it was evaluated on, and not where that lay. A name without its folder begins
with ``.../``, so that it is no path by accident; here the run tells the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import DATA_PLACES, PLACES, EvaluationSpec
from bitfront.evaluators.data.registry import path_of
from bitfront.evaluators.deployment.expectation import Sidecar, sidecar_of
from bitfront.search.runs.files import REFINED, SPEC, read_spec_document
from bitfront.search.runs.names import runs_root
from bitfront.spaces import UserError

SOMEWHERE = ".../"
_LOCAL_MODEL = "local-dir:"
# An export lies in the folder of exports of its run, or in a folder there.
_LEVELS = 3
# What two records of one run have in common, besides their places.
_SAME = ("scheme", "seed", "recipe", "calibration_images")
Document = dict[str, Any]


def without_folders(document: Mapping[str, Any]) -> Document:
    """A bit config document that names what it was evaluated on, and not where that lay."""
    found = dict(document)
    if isinstance(found.get("model"), str):
        found["model"] = _model_name(found["model"])
    measured, provenance = found.get("measured"), found.get("provenance")
    if isinstance(measured, dict) and measured.get("latency_source"):
        found["measured"] = {**measured, "latency_source": _source_name(measured["latency_source"])}
    if isinstance(provenance, dict) and isinstance(provenance.get("evaluation"), dict):
        evaluation = evaluation_without_folders(provenance["evaluation"])
        found["provenance"] = {**provenance, "evaluation": evaluation}
        if provenance.get("prices"):
            found["provenance"]["prices"] = _source_name(provenance["prices"])
    return found


def evaluation_without_folders(evaluation: Mapping[str, Any]) -> Document:
    """The same of the JSON of an evaluation spec; what is built in keeps its name."""
    found, data = dict(evaluation), path_of(str(evaluation.get("data") or ""))
    if isinstance(found.get("model"), str):
        found["model"] = _model_name(found["model"])
    for name in PLACES:
        place = evaluation.get(name)
        if not isinstance(place, str):
            continue
        path = place if name in ("checkpoint", "class_map") else path_of(place)
        if path is not None:
            # What lies in the folder of the data is found there again where that has moved.
            inside = data and name in DATA_PLACES and path != data and Path(path).is_relative_to(data)
            short = (
                f"{_last(data)}/{Path(path).relative_to(data).as_posix()}" if data and inside else _last(path)
            )
            found[name] = f"{place.removesuffix(path)}{SOMEWHERE}{short}"
    return found


def with_folders(document: Mapping[str, Any], path: Path) -> Document:
    """A document that was read from a file, with the folders that are known on this machine.

    They are known by the record beside the file, and by the run: that in whose folder the file lies, or the
    one of that name in the folder of runs. What is not known stays as it is.

    Args:
        document: As :func:`without_folders` gives it, or one that has its folders.
        path: The file.
    """
    found, provenance = dict(document), document.get("provenance")
    evaluation = provenance.get("evaluation") if isinstance(provenance, dict) else None
    if not isinstance(provenance, dict) or not isinstance(evaluation, dict) or not _is_short(evaluation):
        return found
    for known in _known_evaluations(path, provenance):
        short = evaluation_without_folders(known)
        if any(known.get(name) != evaluation.get(name) for name in _SAME if name in known):
            continue
        names = [name for name in ("model", *PLACES) if name in known and short[name] == evaluation.get(name)]
        evaluation = {**evaluation, **{name: known[name] for name in names}}
        if found.get("model") == short.get("model"):
            found["model"] = known["model"]
    return {**found, "provenance": {**provenance, "evaluation": evaluation}}


def lost_places(document: Mapping[str, Any], path: Path, evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Places of a run that a file in another place does not tell, nor anything on this machine.

    Args:
        document: What the file carries.
        path: The file.
        evaluation: Of the run.

    Returns:
        By field of the evaluation spec.
    """
    found = with_folders(document, path)["provenance"]["evaluation"]
    return {name: str(evaluation[name]) for name in PLACES if SOMEWHERE in str(found.get(name))}


def check_places(spec: EvaluationSpec, source: Path | str, needed: tuple[str, ...] = PLACES) -> None:
    """Refuses a spec some of whose places are names without folders.

    Args:
        spec: With what was found and given.
        source: Where it is from, for the message.
        needed: The fields that matter.

    Raises:
        UserError: There are such places.
    """
    lost = {name: spec.places[name] for name in needed if SOMEWHERE in spec.places.get(name, "")}
    if lost:
        named = ", ".join(place.partition(SOMEWHERE)[2] for place in dict.fromkeys(lost.values()))
        options = " and ".join(f"--{name.replace('_', '-')}" for name in lost)
        raise UserError(
            f"{source} names {named} without a folder, as all that is shipped, and its run is not here: give "
            f"{options}"
        )


def _known_evaluations(path: Path, provenance: Mapping[str, Any]) -> Iterator[Document]:
    """What may be recorded of the same run on this machine, with folders."""
    record = sidecar_of(path)
    if record.is_file():
        try:
            places = Sidecar.read(record).places
        except UserError:  # which is told of where the record is needed
            places = {}
        if places:
            yield dict(places)
    near = list(path.absolute().parents)[:_LEVELS]
    run = provenance.get("run")
    named = [runs_root() / run] if isinstance(run, str) and Path(run).name == run else []
    for folder in (*near, *named):
        if (folder / SPEC).is_file():
            try:
                evaluation = read_spec_document(folder).get("evaluation")
            except UserError:
                continue
            if isinstance(evaluation, dict):
                yield {**evaluation, **_refinement_in(folder, provenance)}


def _refinement_in(run_folder: Path, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The refinement of a run that a file names, where it is there."""
    named = str(provenance["evaluation"].get("refinement") or "")
    file = run_folder.absolute() / REFINED / _last(named)
    return {"refinement": str(file)} if named and file.is_file() else {}


def _is_short(evaluation: Mapping[str, Any]) -> bool:
    return any(SOMEWHERE in str(evaluation.get(name)) for name in ("model", *PLACES))


def _model_name(name: str) -> str:
    place = name.removeprefix(_LOCAL_MODEL)
    return name if place == name else f"{_LOCAL_MODEL}{SOMEWHERE}{_last(place)}"


def _source_name(source: object) -> str:
    """A latency source without the folder of its file."""
    kind, colon, place = str(source).partition(":")
    return f"{kind}{colon}{_last(place)}"


def _last(place: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", place.rstrip("/\\"))[-1]
