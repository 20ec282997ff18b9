"""Peak memory of a candidate in a process of its own, which runs this module."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bitfront.evaluators.latency.bench.entry import BenchEntry
from bitfront.spaces import BitfrontError

BATCHES = 5
LONGEST_S = 600


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of a process.

    Attributes:
        imports_bytes: With its libraries imported and no file loaded.
        peak_bytes: After it has loaded the file and run a few batches.
    """

    imports_bytes: int
    peak_bytes: int


def memory_in_fresh_process(entry: BenchEntry, batch: int) -> Memory:
    """Loads an entry and runs some batches in a new process, on one thread.

    Raises:
        BitfrontError: The process failed.
    """
    command = [sys.executable, "-m", __name__, _request(entry, batch)]
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        # Ctrl-C is for the process that asks, which stops in good order.
        done = subprocess.run(  # noqa: S603 - our own module and a text that we wrote
            command,
            env={**os.environ, **one_thread},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=True,
            start_new_session=True,
        )
        return Memory(**json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise BitfrontError(f"its memory could not be measured ({words[-1] if words else error})") from error


def _request(entry: BenchEntry, batch: int) -> str:
    fields = {**vars(entry), "path": str(entry.path)}
    kind = {"module": type(entry).__module__, "name": type(entry).__qualname__}
    return json.dumps({"kind": kind, "batch": batch, "fields": fields})


def _entry(request: dict[str, Any]) -> BenchEntry:
    # Only the module that has the class: each imports what its own kind needs.
    kind = getattr(importlib.import_module(request["kind"]["module"]), request["kind"]["name"])
    fields = {**request["fields"], "path": Path(request["fields"]["path"])}
    if "shape" in fields:
        fields["shape"] = tuple(fields["shape"])
    found: BenchEntry = kind(**fields)
    return found


def peak_resident_bytes() -> int:
    """The most memory that this process has held so far.

    Linux counts for a program from its start; ``getrusage`` would begin with that of the program that
    started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    on_windows = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if on_windows is not None:
        return int(on_windows)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(text: str) -> None:
    """Does what is asked for, and writes what it took as JSON."""
    request = json.loads(text)
    entry = _entry(request)
    entry.import_libraries()
    imports = peak_resident_bytes()
    loaded = entry.load(request["batch"])
    for _ in range(BATCHES):
        loaded.run()
    sys.stdout.write(json.dumps(dataclasses.asdict(Memory(imports, peak_resident_bytes()))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
