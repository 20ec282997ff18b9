"""A small search of the embedded model in a child process, to be hurt, and what it comes to."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NAME = "run"
QUICK = (
    *(
        "--model",
        "digits_deit",
        "--scheme",
        "fq-vit",
        "--recipe",
        "fq-vit",
        "--workers",
        "1",
        "--threads",
        "1",
    ),
    *("--calibration-images", "32", "--search-images", "64", "--test-images", "32", "--batch-size", "64"),
    *("--latency", "model:bops", "--sampler", "nsga2", "--population", "4", "--seed", "3"),
)
# Measured anew each time, or times of day.
_NOT_COMPARED = ("latency_measured_ms",)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Exit status, negative for a signal.
        seconds: How long it ran.
        told: What it wrote on stderr.
        recovered: Seconds until it had recorded an evaluation; None where it recorded none.
    """

    status: int
    seconds: float
    told: str
    recovered: float | None

    @property
    def in_order(self) -> bool:
        """Whether nothing broke that only a developer understands."""
        return "internal error" not in self.told and "Traceback" not in self.told


class Search:
    """A search in a folder, begun or gone on with by one process after another.

    Imports are done once, in this process: what is killed is forked from it.
    """

    def __init__(self, runs: Path, evaluations: int, command: tuple[str, ...] = ()) -> None:
        self.runs, self.evaluations = runs, evaluations
        self._words = command or (*QUICK, "--evaluations", str(evaluations))
        runs.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self.runs / NAME

    @property
    def recorded(self) -> int:
        """Evaluations that are recorded."""
        from bitfront.search.runs.journal import evaluations_recorded

        return evaluations_recorded(self.folder / "study.log")

    def start(self, prepare: Callable[[], object] = lambda: None) -> int:
        """The id of a process that begins the search or goes on with it; ``prepare`` is called in it."""
        resumed = self.folder.exists()
        words = ("--resume", NAME) if resumed else (*self._words, "--run", NAME)
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            output = os.open(self.runs.parent / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 2), os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            from bitfront.search.cli.main import main

            prepare()
            status = main(["search", *words, "--runs-dir", str(self.runs)])
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def run(
        self,
        prepare: Callable[[], object] = lambda: None,
        strike: Callable[[int], object] = lambda child: None,
        after: float = float("inf"),
        patience: float = 600.0,
    ) -> Ended:
        """Begins or goes on; ``strike`` is called with the process ``after`` seconds, unless it has ended."""
        before, recovered = self.recorded, None
        begun = time.monotonic()
        child = self.start(prepare)
        struck = False
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - begun
            if recovered is None and self.recorded > before:
                recovered = seconds
            if found:
                told = (self.runs.parent / "stderr.txt").read_text(errors="replace")
                return Ended(os.waitstatus_to_exitcode(status), seconds, told, recovered)
            if not struck and seconds >= after:
                struck = True
                with contextlib.suppress(ProcessLookupError):
                    strike(child)
            if seconds > patience:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)

    def result(self) -> dict[str, list[dict[str, str]]]:
        """The tables, without what is measured again."""
        import csv

        found = {}
        for name in ("front.csv", "trials.csv"):
            with (self.folder / name).open(newline="") as file:
                rows = list(csv.DictReader(file))
            found[name] = [{k: v for k, v in row.items() if k not in _NOT_COMPARED} for row in rows]
        return found

    @property
    def done(self) -> bool:
        """Whether its summary says that nothing is left to do."""
        import json

        path = self.folder / "summary.json"
        if not path.exists():
            return False
        return json.loads(path.read_text())["evaluations"] >= self.evaluations


def warm() -> None:
    """Imports what a search imports."""
    import importlib

    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    for name in (
        "bitfront.search.session.search_session",
        "bitfront.search.session.run",
        "bitfront.search.cli.commands.search",
        "bitfront.search.runs.study",
        "bitfront.search.reports.plots.run_plots",
        "bitfront.evaluators.context.context",
        "pymoo.core.algorithm",
        "timm",
    ):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    # Models are timed a few times, not for twelve seconds: how long they take decides nothing here.
    from bitfront.evaluators.latency import measured
    from bitfront.evaluators.latency.timed_runtime import TimingProtocol

    quick = TimingProtocol(warmup=1, iterations=2, repeats=2, budget_seconds=0.1, fewest=1)
    measured.TimingProtocol = lambda: quick
