"""Readers run in a watched child process: its time and memory, what it writes, starts and connects to."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEBIBYTE = 2**20
# Exit status of a child that could not read what nobody had altered.
NOT_BEGUN = 3


class UnexpectedError(Exception):
    """What no reader may do, in words."""


class DiffersError(Exception):
    """Something else was read of a file that has a digest."""


@dataclass(frozen=True)
class Bounds:
    """What one try may take.

    Attributes:
        seconds: Most processor time.
        memory: Most bytes of memory beyond what the process had.
    """

    seconds: float = 20.0
    memory: int = 400 * MEBIBYTE


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Attributes:
        number: Of the try.
        kind: ``read``, ``refused``, or what went wrong: ``error``, ``hang``, ``died``, ``memory``, ``wrote``,
            ``ran``, ``connected``, ``differs``, ``message``.
        detail: In words.
        seconds: Processor time that it took: how long it takes depends on who else is there.
    """

    number: int
    kind: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def survived(self) -> bool:
        return self.kind in ("read", "refused")


class Watch:
    """Notes what the interpreter is asked for while it is on; an audit hook cannot be taken back."""

    _RUNS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
    _CONNECTS = ("socket.connect", "socket.bind", "urllib.Request", "http.client.connect", "ftplib.connect")
    _CHANGES = (
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.symlink",
        "os.link",
        "os.truncate",
        "os.chmod",
    )

    def __init__(self, allowed: Path) -> None:
        self.allowed = (str(allowed.resolve()), "/dev/null")
        self.noted: list[tuple[str, str]] = []
        self._on = False
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        self.noted.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in str(mode or "") for letter in "wax+") or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
            if writes and not isinstance(path, int):
                self._check("wrote", path)
        elif event in self._CHANGES:
            self._check("wrote", arguments[0])
        elif event in self._RUNS:
            self.noted.append(("ran", f"{event} {arguments[0]!r}"[:200]))
        elif event in self._CONNECTS:
            self.noted.append(("connected", f"{event} {arguments[1:]!r}"[:200]))

    def _check(self, kind: str, path: Any) -> None:
        if isinstance(path, int):  # of a file that was noted when it was opened
            return
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith(self.allowed):
            self.noted.append((kind, place[:200]))


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


@contextlib.contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Gives how much the resident memory has grown at most since."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    yield lambda: _status("VmHWM") - before


def attempt(number: int, act: Callable[[], object], watch: Watch, bounds: Bounds) -> Outcome:
    """Runs one try in this process; ``act`` raises DiffersError for what was read wrong."""
    from bitfront.spaces import BitfrontError
    from bitfront.spaces.errors import one_line

    begun, kind, detail = time.process_time(), "read", ""
    with peak() as grown, watch.on():
        try:
            act()
        except BitfrontError as error:
            kind, detail = "refused", one_line(error)
        except DiffersError as error:
            kind, detail = "differs", str(error)[:400]
        except UnexpectedError as error:
            kind, detail = "error", str(error)[:600]
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in where if "/site-packages/" not in frame.filename] or where
            places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(own[-4:]))
            kind, detail = "error", f"{type(error).__name__}: {one_line(error, 160)} at {places}"
    seconds = time.process_time() - begun
    if grown() > bounds.memory:
        kind, detail = "memory", f"{grown() / MEBIBYTE:.0f} MiB more; {detail}"
    if seconds > bounds.seconds:
        kind, detail = "hang", f"{seconds:.1f} s; {detail}"
    if watch.noted:
        kind, detail = watch.noted[0]
    return Outcome(number, kind, detail, seconds)


def in_children(
    numbers: range, begin: Callable[[], Callable[[int], object]], scratch: Path, bounds: Bounds
) -> Iterator[Outcome]:
    """Makes tries in a child process, in another one after each that hung or died.

    Args:
        numbers: Of the tries.
        begin: Called in the child once; gives what makes a try of a number.
        scratch: The only folder that may be written to.
        bounds: Of each try.
    """
    at, deaths = numbers.start, 0
    while at < numbers.stop:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _child(range(at, numbers.stop), begin, scratch, bounds, writing)
        os.close(writing)
        done = at
        with os.fdopen(reading, "rb", buffering=0) as stream:
            for line in _lines(stream, 3 * bounds.seconds + 60):
                outcome = Outcome(**json.loads(line))
                yield outcome
                done = outcome.number + 1
        if done < numbers.stop:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            if code == NOT_BEGUN:
                raise SystemExit("a valid example could not be read")
            deaths += 1
            if code == -signal.SIGKILL:
                yield Outcome(done, "hang", "it did not answer, or the system ended it for its memory")
            else:
                yield Outcome(done, "died", f"exit status {code}")
            done += 1
        else:
            os.waitpid(child, 0)
        if deaths > 20:
            raise SystemExit("more than 20 children died: see the outcomes")
        at = done


def in_one_child(act: Callable[[], object]) -> None:
    """Does something in a child process, so that this one keeps no threads of libraries."""
    child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("a valid example could not be made")


def _lines(stream: Any, patience: float) -> Iterator[bytes]:
    """Lines until the other end is closed, or nothing comes for ``patience`` seconds."""
    rest = b""
    while select.select([stream], [], [], patience)[0]:
        part = os.read(stream.fileno(), 65536)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def _child(numbers: range, begin: Any, scratch: Path, bounds: Bounds, writing: int) -> None:
    status = 1
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        own_stderr = os.dup(2)
        sink = os.open(scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1), os.dup2(sink, 2)
        faulthandler.enable(file=2)
        os.chdir(scratch)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        try:
            act = begin()
        except BaseException:
            os.write(own_stderr, traceback.format_exc().encode())
            status = NOT_BEGUN
            raise
        watch = Watch(scratch)
        own = _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (own + 8 * bounds.memory, resource.RLIM_INFINITY))
        for number in numbers:
            outcome = attempt(number, lambda number=number: act(number), watch, bounds)
            os.write(writing, (json.dumps(outcome.__dict__) + "\n").encode())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
