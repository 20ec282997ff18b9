"""What parts take on the disk, and in the memory of a fresh process that runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitfront.evaluators.generation.compiled import precision_of
from bitfront.evaluators.generation.workbench import Workbench
from bitfront.evaluators.latency.bench.memory import peak_resident_bytes
from bitfront.spaces import BitfrontError
from bitfront.spaces.part_formats import FLOAT

_PLAN, _TIMEOUT_S = "plan.json", 600


@dataclass(frozen=True)
class Footprint:
    """What an assignment of formats takes.

    Attributes:
        disk: Bytes of the saved model of every part, by part.
        held: Bytes of the constants of the model of every part, as a process holds them before compilation.
        peak: The most memory of a fresh process that loads all parts and runs each once, in bytes.
    """

    disk: Mapping[str, int]
    held: Mapping[str, int]
    peak: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"disk": dict(self.disk), "held": dict(self.held), "peak": self.peak}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Footprint:
        """The inverse of :meth:`to_json`; KeyError or TypeError where it is none."""
        return cls(document["disk"], document["held"], int(document["peak"]))


def footprint(bench: Workbench, formats: Mapping[str, str]) -> Footprint:
    """Saves the parts of an assignment, and runs them in another process.

    Raises:
        BitfrontError: That process failed.
    """
    import openvino

    from bitfront.evaluators.generation.graphs import constant_bytes

    inputs = bench.timed_calls(bench.everywhere(FLOAT))
    disk, held = dict[str, int](), dict[str, int]()
    plan: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bitfront-parts-") as scratch:
        for part in bench.pipeline.parts:
            model = bench.graphs[part.name].assembled(formats)
            held[part.name] = constant_bytes(model)
            place = Path(scratch) / f"{part.name}.xml"
            openvino.save_model(model, place, compress_to_fp16=False)
            disk[part.name] = sum(file.stat().st_size for file in (place, place.with_suffix(".bin")))
            arrays = {str(i): array for i, array in enumerate(inputs[part.name][0])}
            np.savez(place.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
            plan.append({"model": place.name, "precision": precision_of(part, formats)})
        text = json.dumps({"threads": bench.threads, "parts": plan})
        (Path(scratch) / _PLAN).write_text(text, encoding="utf-8")
        return Footprint(disk, held, _peak_of(Path(scratch)))


def _peak_of(folder: Path) -> int:
    command = [sys.executable, "-m", __name__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    if done.returncode:
        raise BitfrontError(f"a process that runs the parts failed ({' '.join(done.stderr[-160:].split())})")
    return int(done.stdout.split()[-1])


def main(folder: str) -> None:
    """Loads all parts of a folder, runs each once, and prints the most memory that this took."""
    import openvino

    place = Path(folder)
    plan = json.loads((place / _PLAN).read_text(encoding="utf-8"))
    core, kept = openvino.Core(), []
    for entry in plan["parts"]:
        settings = {
            "INFERENCE_NUM_THREADS": plan["threads"],
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": entry["precision"],
        }
        path = place / entry["model"]
        compiled = core.compile_model(core.read_model(path), "CPU", settings)
        kept.append(compiled)  # all parts are in memory while pictures are made
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            compiled([arrays[str(i)] for i in range(len(arrays.files))])
    sys.stdout.write(f"{peak_resident_bytes()}\n")


if __name__ == "__main__":
    main(sys.argv[1])
