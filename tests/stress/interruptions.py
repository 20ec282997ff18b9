"""Searches that are killed, interrupted or cannot write: resumed until done, they find what others do."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from searches import Search, warm
from table import Line


def _twice(child: int) -> None:
    os.kill(child, signal.SIGINT)
    time.sleep(0.05)
    os.kill(child, signal.SIGINT)


SIGNALS: dict[str, Callable[[int], object]] = {
    "SIGKILL": lambda child: os.kill(child, signal.SIGKILL),
    "SIGTERM": lambda child: os.kill(child, signal.SIGTERM),
    "SIGHUP": lambda child: os.kill(child, signal.SIGHUP),
    "Ctrl-C": lambda child: os.kill(child, signal.SIGINT),
    "Ctrl-C twice": _twice,
}


class Interruptions:
    """Hurts searches in a folder of its own, and compares them with one that was left alone."""

    def __init__(self, work: Path, evaluations: int, seed: int) -> None:
        warm()
        self._work, self._evaluations, self._seed = work, evaluations, seed
        self._count = 0
        # Seconds from a start of what goes on to its first evaluation, at most, of the present harness.
        self._longest = 0.0
        alone = self._new()
        alone.run()  # prepares the model, which is kept
        alone = self._new()
        ended = alone.run()
        if ended.status:
            raise SystemExit(f"a search that was left alone ended with {ended.status}: {ended.told}")
        self._seconds, self._expected = ended.seconds, alone.result()
        self.notes: list[str] = []

    def _new(self, runs: Path | None = None) -> Search:
        self._count += 1
        return Search(runs or self._work / f"{self._count}" / "runs", self._evaluations)

    def signalled(self, name: str, tries: int) -> Line:
        """Sends a signal at random instants, and goes on each time."""
        rng = random.Random(f"{self._seed}/{name}")
        search, lost, wrong, bad, done, self._longest = self._new(), 0, 0, 0, 0, 0.0
        begun = time.perf_counter()
        while done < tries:
            before = search.recorded
            ended = search.run(strike=SIGNALS[name], after=rng.uniform(0, self._seconds))
            lost += max(0, before - search.recorded)
            if ended.recovered is not None and before:
                self._longest = max(self._longest, ended.recovered)
            if not ended.in_order or (ended.status == 2 and search.folder.exists()):
                bad += 1
                self.notes.append(f"{name}: status {ended.status}: {ended.told.strip()[-300:]}")
            if ended.status == 2:  # it was killed before there was anything to go on with
                shutil.rmtree(search.folder, ignore_errors=True)
            done += ended.status != 0 or not search.done
            if ended.status == 0 and search.done:
                wrong += search.result() != self._expected
                search = self._new()
        if search.folder.exists():
            wrong += self._finish(search)
        return self._line(f"{name} at a random instant of a search", done, bad, lost, wrong, begun)

    def _finish(self, search: Search) -> bool:
        """Goes on until the end; whether that is another one."""
        before, ended = search.recorded, search.run()
        if before:
            self._longest = max(self._longest, ended.recovered or 0.0)
        if ended.status == 2:
            shutil.rmtree(search.folder, ignore_errors=True)
            ended = search.run()
        differs = ended.status != 0 or search.result() != self._expected
        if differs:
            self.notes.append(f"gone on with: status {ended.status}: {ended.told.strip()[-300:]}")
        return differs

    def cannot_write(self, number: int, tries: int) -> Line:
        """From one of the files that it opens, renames or makes on, none can be written any more."""
        name = errno.errorcode[number]
        rng = random.Random(f"{self._seed}/{name}")
        counted = self._new()
        counter = counted.runs.parent / "writes"
        counted.run(prepare=lambda: _fail_after(counted.runs, None, number, counter))
        writes = int(counter.read_text())
        lost, wrong, bad, begun, self._longest = 0, 0, 0, time.perf_counter(), 0.0
        places = sorted(rng.sample(range(writes), min(tries, writes)))
        for place in places:
            search = self._new()
            ended = search.run(
                prepare=lambda place=place, search=search: _fail_after(search.runs, place, number)
            )
            before = search.recorded
            if not ended.in_order:
                bad += 1
                self.notes.append(f"{name} at write {place}: {ended.told.strip()[-300:]}")
            wrong += self._finish(search)
            lost += max(0, before - search.recorded)
        what = f"no write succeeds any more ({name}), from one of {writes} writes of a search on"
        return self._line(what, len(places), bad, lost, wrong, begun)

    def small_disk(self, tries: int) -> Line | None:
        """A file system of a few kilobytes, which grows when the search has ended with an error."""
        rng = random.Random(f"{self._seed}/disk")
        lost, wrong, bad, begun, self._longest = 0, 0, 0, time.perf_counter(), 0.0
        for number in range(tries):
            place = self._work / f"disk{number}"
            size = rng.randrange(16, 400) * 1024
            if not _mounted(place, size):
                self.notes.append("no file system could be mounted: not tried")
                return None
            try:
                search = self._new(place / "runs")
                ended = search.run()
                before = search.recorded
                if not ended.in_order or (ended.status == 0 and not search.done):
                    bad += 1
                    self.notes.append(
                        f"{size // 1024} KiB: status {ended.status}: {ended.told.strip()[-300:]}"
                    )
                subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
                wrong += self._finish(search)
                lost += max(0, before - search.recorded)
            finally:
                _unmount(place)
        return self._line("the disk is full (a file system of 16 to 400 KiB)", tries, bad, lost, wrong, begun)

    def at_once(self, tries: int) -> Line:
        """A second process goes on with a run that one is at: it is refused, and the first ends as ever."""
        lost, wrong, bad, begun, self._longest = 0, 0, 0, time.perf_counter(), 0.0
        rng = random.Random(f"{self._seed}/two")
        for _ in range(tries):
            search, told = self._new(), []
            other = Search(search.runs, self._evaluations)

            def second(child: int, other: Search = other, told: list[Any] = told) -> None:
                if other.folder.exists():
                    begun = time.monotonic()
                    pid = other.start()
                    told.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    told.append(time.monotonic() - begun)

            ended = search.run(strike=second, after=rng.uniform(0.3, 0.8) * self._seconds)
            bad += ended.status != 0 or (bool(told) and told[0] not in (0, 2))
            wrong += self._finish(search) if ended.status else search.result() != self._expected
        return self._line("a second process on the same run", tries, bad, lost, wrong, begun)

    def _line(self, fault: str, tries: int, bad: int, lost: int, wrong: int, begun: float) -> Line:
        seconds = time.perf_counter() - begun
        return Line(fault, tries, tries - bad, None, lost, wrong, self._longest, seconds)


def _fail_after(folder: Path, allowed: int | None, number: int, counter: Path | None = None) -> None:
    """Lets only so many writes below a folder succeed in this process; without a limit it counts them."""
    root, done = str(folder.resolve()), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in str(mode or "") for letter in "wax+") or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
        elif event in ("os.rename", "os.mkdir", "os.symlink", "os.link"):
            path, writes = arguments[1] if event != "os.mkdir" else arguments[0], True
        else:
            return
        if not writes or isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(root):
            return
        done += 1
        if counter is not None:
            descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, str(done).encode())
            os.close(descriptor)
        if allowed is not None and done > allowed:
            raise OSError(number, os.strerror(number), os.fsdecode(path))

    sys.addaudithook(hook)


def _unmount(place: Path) -> None:
    """Workers end with the process that they were of, but a moment later."""
    for _ in range(100):
        if subprocess.run(["umount", place], capture_output=True).returncode == 0:
            return
        time.sleep(0.3)
    raise SystemExit(f"{place} cannot be unmounted: a process of a search has outlived it by 30 s")


def _mounted(place: Path, size: int) -> bool:
    place.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    return done.returncode == 0
