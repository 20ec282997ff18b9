"""Times the graphs beside this file, for a latency table; needs numpy and a runtime, and nothing else.

    python probe.py                                  # every runtime that is installed, one image, one thread
    python probe.py --threads 1,2 --batch 1,8        # four sets of times
    python probe.py --collect times.csv --runtime openvino --machine "Pixel 8"

writes timings.json, of which ``bitfront latency-table --from-probe timings.json`` makes tables where bitfront
is installed. Started again it goes on with what is missing. This file may be changed and copied freely.

Graphs are timed in turn, each for a short while, in rounds of a changing order: what else the machine does
slows a whole round, which is told apart from the graphs afterwards. The last form takes times of another
program (README.md): a CSV file with columns probe, threads, batch and milliseconds.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT, VERSION = "bitfront/latency-timings", 1
MANIFEST_FORMAT, MANIFEST_VERSION = "bitfront/latency-probe", 1
HERE = Path(__file__).resolve().parent
MANIFEST, GRAPHS, OUTPUT = "manifest.json", "graphs", "timings.json"
RUNTIMES = ("openvino", "onnxruntime")
SECONDS = 45.0
# How long one graph is run in a round: many times what a scheduler leaves to one program at a time, so that
# short and long graphs are slowed down alike.
WINDOW_SECONDS = 0.1
MOST_RUNS, LONG_MILLISECONDS = 200, 40.0
FEWEST_ROUNDS = 5
# Rounds this much above the quick quarter are disturbed; so long is gone on, as a share, while most are.
QUIET, LONGER = 1.1, 0.5
FEWEST_QUIET, MOST_STOPPED = 0.6, 0.5
Run = Callable[[], object]


class ProbeError(Exception):
    """What keeps graphs from being timed, in one line."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder holds; its files are compared with their hashes.

    Raises:
        ProbeError: A file is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        form = found["format"], found["version"]
        hashes = {str(name): str(value) for name, value in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProbeError(f"{path} cannot be read ({error!r}): copy the folder again") from None
    if form != (MANIFEST_FORMAT, MANIFEST_VERSION):
        raise ProbeError(
            f"{path} is {form}, not {(MANIFEST_FORMAT, MANIFEST_VERSION)}: make the folder again"
        )
    for name, expected in hashes.items():
        try:
            content = (folder / GRAPHS / name).read_bytes()
        except OSError as error:
            raise ProbeError(
                f"{GRAPHS}/{name} cannot be read ({error.strerror}): copy the folder again"
            ) from None
        if hashlib.sha256(content).hexdigest() != expected:
            raise ProbeError(f"{GRAPHS}/{name} is not what was written: copy the folder again")
    return dict(found)


def runs_of(
    folder: Path, manifest: Mapping[str, Any], runtime: str, threads: int, batch: int
) -> dict[str, Run]:
    """The graphs of a runtime, loaded, by the names of their probes.

    Raises:
        ProbeError: The runtime refuses one.
    """
    import numpy as np

    load, found = {"openvino": _openvino, "onnxruntime": _onnxruntime}[runtime], {}
    for probe in manifest["runtimes"][runtime]["probes"]:
        x = np.random.default_rng(0).standard_normal((batch, *probe["input"]), dtype=np.float32)
        path = folder / GRAPHS / probe["file"]
        try:
            found[probe["name"]] = load(path, threads, x)
            found[probe["name"]]()
        except Exception as error:  # runtimes have no common base of their exceptions but this one
            reason = str(error).strip().split("\n")[0][:200]
            raise ProbeError(f"{runtime} cannot run {GRAPHS}/{probe['file']} ({reason})") from None
    return found


def _onnxruntime(path: Path, threads: int, x: Any) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})


def _openvino(path: Path, threads: int, x: Any) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x})


def time_runs(runs: Mapping[str, Run], seconds: float, told: Callable[[float], None]) -> dict[str, Any]:
    """Times runs in rounds.

    Args:
        runs: By name.
        seconds: How long; half as long again where most rounds were disturbed.
        told: Hears the share that is done.

    Returns:
        ``mean``: by name, milliseconds of a run in each round; ``stopped``: the share of runs in which the
        system took the processor away; ``rounds`` and ``quiet`` ones.
    """
    means: dict[str, list[float]] = {name: [] for name in runs}
    stopped: list[bool] = []
    # All are timed a few times, however little time there is.
    window = min(WINDOW_SECONDS, seconds / (FEWEST_ROUNDS * len(runs)))
    order, started = random.Random(0), time.monotonic()  # noqa: S311 - an order, no secret
    names = list(runs)
    while True:
        passed, done = time.monotonic() - started, len(means[names[0]])
        quiet = _quiet_rounds(means)
        limit = seconds * (1.0 if quiet >= FEWEST_QUIET * done else 1.0 + LONGER)
        told(min(1.0, passed / seconds))
        if done >= FEWEST_ROUNDS and passed >= limit:
            return {"mean": means, "stopped": _share(stopped), "rounds": done, "quiet": quiet}
        order.shuffle(names)
        for name in names:
            milliseconds, interrupted = _window(runs[name], window, means[name][0] if means[name] else None)
            means[name].append(round(milliseconds, 6))
            stopped += interrupted


def _window(run: Run, seconds: float, known: float | None) -> tuple[float, list[bool]]:
    """The mean milliseconds of a run, and in which of them another program was given the processor.

    Before what is ``known`` to take long no run is spared: beside it, fetching its data takes no time.
    """
    if not known or known < LONG_MILLISECONDS:
        run()  # finds its data in the caches, as a served model does
    interrupted: list[bool] = []
    started, before = time.perf_counter(), _switches()
    while True:
        run()
        passed, now = time.perf_counter() - started, _switches()
        interrupted.append(now > before)
        before = now
        if passed >= seconds or len(interrupted) >= MOST_RUNS:
            return 1e3 * passed / len(interrupted), interrupted


def _switches() -> int:
    """How often the system took the processor away from this process; 0 where it does not tell."""
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def _quiet_rounds(means: Mapping[str, Sequence[float]]) -> int:
    """How many rounds are about as quick as the quick quarter of them."""
    columns = [values for values in means.values() if values]
    if not columns:
        return 0
    typical = [statistics.median(values) for values in columns]
    levels = [
        statistics.median(value / usual for value, usual in zip(row, typical, strict=True))
        for row in zip(*columns, strict=False)
    ]
    quick = sorted(levels)[len(levels) // 4]
    return sum(level <= QUIET * quick for level in levels)


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(1, len(flags)), 4)


def machine_name() -> str:
    """What the processor is called."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            found = subprocess.run(asked, capture_output=True, text=True, check=True)  # noqa: S603
            return found.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def collected(path: Path, manifest: Mapping[str, Any], runtime: str) -> list[dict[str, Any]]:
    """Times of another program, as runs: of each number of threads and images one.

    Args:
        path: A CSV file with columns ``probe`` (name or file of one), ``threads``, ``batch``,
            ``milliseconds``; several rows of a probe are several rounds.
        manifest: What was timed.
        runtime: Whose graphs they are.

    Raises:
        ProbeError: The file cannot be read, or says nothing of a probe.
    """
    probes = manifest["runtimes"][runtime]["probes"]
    names = {probe[key]: probe["name"] for probe in probes for key in ("name", "file")}
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    number = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                number += 1
                load, milliseconds = (int(row["threads"]), int(row["batch"])), float(row["milliseconds"])
                name = names[Path(row["probe"].strip()).name]
                if min(load) < 1 or not 0.0 < milliseconds < math.inf:
                    raise ValueError("numbers must be above 0")
                found.setdefault(load, {}).setdefault(name, []).append(milliseconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ProbeError(
            f"{path}, line {number}: {error!r}; expected probe,threads,batch,milliseconds"
        ) from None
    runs = []
    for (threads, batch), times in sorted(found.items()):
        missing = [probe["name"] for probe in probes if probe["name"] not in times]
        if missing:
            raise ProbeError(f"{path} has no time of {missing[0]} for threads {threads}, batch {batch}")
        rounds = min(map(len, times.values()))
        means = {name: values[:rounds] for name, values in times.items()}
        of = {"runtime": runtime, "runtime_version": "", "threads": threads, "batch": batch}
        runs.append({**of, "mean": means, "stopped": 0.0, "rounds": rounds, "quiet": rounds})
    if not runs:
        raise ProbeError(f"{path} has no times: expected probe,threads,batch,milliseconds")
    return runs


class Timings:
    """The file that is written; what it has already is kept."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], machine: str) -> None:
        """Takes what an earlier call wrote.

        Raises:
            ProbeError: The file is of another folder or machine, or none of these.
        """
        self._path = path
        self._document: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "machine": machine,
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "probe": {name: value for name, value in manifest.items() if name != "files"},
            "runs": [],
        }
        if path.exists():
            try:
                earlier = json.loads(path.read_text(encoding="utf-8"))
                same = all(earlier[name] == self._document[name] for name in ("format", "probe", "machine"))
                runs = [dict(run) for run in earlier["runs"]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ProbeError(
                    f"{path} cannot be gone on with ({error!r}): give another --output"
                ) from None
            if not same:
                raise ProbeError(f"{path} is of another folder or machine: give another --output")
            self._document["runs"] = runs

    def has(self, runtime: str, threads: int, batch: int) -> bool:
        """Whether there are times of that."""
        wanted = (runtime, threads, batch)
        return any(
            (r.get("runtime"), r.get("threads"), r.get("batch")) == wanted for r in self._document["runs"]
        )

    def add(self, run: Mapping[str, Any]) -> None:
        """Writes the file with a further run; a killed program leaves the old one or the new one."""
        self._document["runs"].append(dict(run))
        beside = self._path.with_name(f"{self._path.name}.part")
        try:
            beside.write_text(json.dumps(self._document, indent=1), encoding="utf-8")
            os.replace(beside, self._path)
        except OSError as error:
            raise ProbeError(f"{self._path} cannot be written ({error.strerror})") from None


def measure(
    asked: str | None,
    loads: Sequence[tuple[int, int]],
    seconds: float,
    manifest: Mapping[str, Any],
    timings: Timings,
) -> None:
    """Times all that was asked for and is not there yet.

    Args:
        asked: The runtime; None for all that are installed.
        loads: Threads and images of each set of times.
        seconds: Time to spend on each.
        manifest: What is timed.
        timings: Receives the times.

    Raises:
        ProbeError: What times them is not installed, or cannot.
    """
    installed = [name for name in RUNTIMES if importlib.util.find_spec(name)]
    wanted = [asked] if asked else installed
    if not wanted or wanted[0] not in installed:
        raise ProbeError(f"{asked or 'no runtime'} is not installed: pip install {asked or RUNTIMES[1]}")
    if importlib.util.find_spec("numpy") is None:
        raise ProbeError("numpy is not installed: pip install numpy")
    for runtime in wanted:
        for threads, batch in loads:
            label = f"{runtime}, batch {batch}, threads {threads}"
            if timings.has(runtime, threads, batch):
                print(f"{label}: there already", file=sys.stderr)
                continue
            runs = runs_of(HERE, manifest, runtime, threads, batch)
            found = time_runs(runs, seconds, _progress(label))
            version = str(getattr(importlib.import_module(runtime), "__version__", ""))
            of = {"runtime": runtime, "runtime_version": version, "threads": threads, "batch": batch}
            timings.add({**of, **found})
            print(_said(label, found), file=sys.stderr)


def _progress(label: str) -> Callable[[float], None]:
    shown = [-1.0]

    def told(share: float) -> None:
        if sys.stderr.isatty() and share - shown[0] >= 0.02:
            shown[0] = share
            print(f"\r{label}: {share:4.0%}\r", end="", file=sys.stderr, flush=True)

    return told


def _said(label: str, found: Mapping[str, Any]) -> str:
    text, disturbed = f"{label}: {found['rounds']} rounds", found["rounds"] - found["quiet"]
    if found["quiet"] < FEWEST_QUIET * found["rounds"] or found["stopped"] > MOST_STOPPED:
        what = f"slower rounds: {disturbed}" if disturbed else "the processor was taken away in most runs"
        text += f": other work ran ({what}); better time again without it"
    return text


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    return list(dict.fromkeys(numbers))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 86400.0:
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Times graphs, or collects times; the status is 2 where that cannot be done."""
    parser = argparse.ArgumentParser(description="Times the graphs beside this file, for a latency table.")
    parser.add_argument("--runtime", choices=RUNTIMES, help="what runs them (all that are installed)")
    parser.add_argument("--threads", type=_numbers, default=[1], metavar="N,...", help="of an inference (1)")
    parser.add_argument("--batch", type=_numbers, default=[1], metavar="N,...", help="images of a batch (1)")
    seconds = f"time to spend on each set of times ({SECONDS:g})"
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="N", help=seconds)
    parser.add_argument("--output", type=Path, default=Path(OUTPUT), metavar="FILE", help=f"({OUTPUT})")
    parser.add_argument("--machine", metavar="WORDS", help="what ran them, in words (the processor's name)")
    parser.add_argument("--collect", type=Path, metavar="CSV", help="take the times of another program")
    args = parser.parse_args(arguments)
    try:
        manifest = read_manifest(HERE)
        if args.collect and not (args.runtime and args.machine):
            raise ProbeError("--collect needs --runtime, whose graphs were timed, and --machine, where")
        timings = Timings(args.output, manifest, args.machine or machine_name())
        if args.collect:
            for run in collected(args.collect, manifest, args.runtime):
                timings.add(run)
        else:
            loads = [(threads, batch) for threads in args.threads for batch in args.batch]
            measure(args.runtime, loads, args.seconds, manifest, timings)
    except ProbeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted: what was timed is in {args.output}; start again to go on", file=sys.stderr)
        return 130
    print(f"{args.output}: take it to bitfront latency-table --from-probe", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
