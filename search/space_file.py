"""``space.json``: the search space of a run, so that its genes can be read without loading the model."""

from __future__ import annotations

import json
from pathlib import Path

from bitfront.evaluators.atomic import write_atomically
from bitfront.search.run_store import SPACE
from bitfront.spaces import EncoderLayers, SearchSpace, UserError


def write_space(folder: Path, space: SearchSpace) -> Path:
    """Writes ``space.json`` into a run folder and returns its path."""
    document = {
        "model": space.model,
        "scheme": space.scheme,
        "granularity": space.granularity,
        "widths": list(space.widths),
        "held": dict(space.held),
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
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        encoders = [
            EncoderLayers(int(e["index"]), str(e["name"]), tuple(map(str, e["linear"])))
            for e in document["encoders"]
        ]
        return SearchSpace(
            str(document["model"]),
            str(document["scheme"]),
            encoders,
            [int(width) for width in document["widths"]],
            document["granularity"],
            [(kind, int(width)) for kind, width in document.get("held", {}).items()],
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: the run stopped before it had a search space; search again with --run NAME"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); restore it or search again"
        ) from error
