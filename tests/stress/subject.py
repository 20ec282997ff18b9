"""What is altered, and what reads it."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mutations import TAG, Mutation
from watched import Bounds, DiffersError, UnexpectedError

# Gives what was read in a form that compares; raises BitfrontError for what it refuses.
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    Attributes:
        name: In the table.
        make: Writes valid examples into an empty folder.
        altered: Files that are altered, one at a time, with how.
        reads: What reads the folder; one of them at a time, the first one most often.
        sealed: Whether it has a digest: what is read of an altered file must be what was read before.
        bounds: Of a try.
        share: Of the tries that are asked for.
    """

    name: str
    make: Callable[[Path], object]
    altered: Sequence[tuple[str, Sequence[Mutation]]]
    reads: Sequence[Read]
    sealed: bool = False
    bounds: Bounds = field(default_factory=Bounds)
    share: float = 1.0

    def begin(self, template: Path, scratch: Path, seed: int) -> Callable[[int], object]:
        """Gives what makes a try of a number, in the process that calls this."""
        folder = scratch / "tried"

        def fresh() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(template, folder)

        fresh()
        before = []
        for read in self.reads:
            before.append(read(folder))
            fresh()

        def act(number: int) -> object:
            rng = random.Random(f"{seed}/{self.name}/{number}")
            name, mutations = rng.choice(list(self.altered))
            content = (template / name).read_bytes()
            changed = rng.choice(list(mutations))(content, rng)
            place = rng.choice([0, 0, *range(len(self.reads))])
            (folder / name).write_bytes(changed)
            try:
                found = self.reads[place](folder)
            finally:
                fresh()
            if self.sealed and changed != content and found != before[place]:
                raise DiffersError(f"{name} was altered, and something else was read without a word")
            return found

        return act


def command(*words: object) -> str:
    """What a command prints; raises UserError for what it refuses, UnexpectedError for what it may not do."""
    from bitfront.search.cli.main import main
    from bitfront.spaces import UserError

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*map(str, words), "--debug"])
    lines = err.getvalue().splitlines()
    if any("internal error" in line for line in lines):
        places = [
            line.strip() for line in lines if line.startswith("  File") and "/site-packages/" not in line
        ]
        shown = " < ".join(place.partition("bitfront/")[2] or place for place in reversed(places[-3:]))
        raise UnexpectedError(f"{words[0]}: {lines[-1][7:150]} at {shown}")
    printed = out.getvalue() + (lines[-1] if lines else "")
    # A terminal that is written to obeys them.
    if found := {sign for sign in "\x1b\x9b\x07\x08\0" if sign in printed}:
        raise UnexpectedError(f"{words[0]} prints control characters at {sorted(found)}")
    if len(printed) > 2_000_000:
        raise UnexpectedError(f"{words[0]} prints {len(printed)} characters")
    if status and len(lines[-1]) > 2100:
        raise UnexpectedError(f"{words[0]}: an error of {len(lines[-1])} characters")
    if status and not lines:
        raise UnexpectedError(f"{words[0]}: exit status {status} without a word")
    if status:
        raise UserError(lines[-1])
    return out.getvalue()


class _Tags(HTMLParser):
    found: bool = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, Any]]) -> None:
        self.found = self.found or tag == TAG or any(name.startswith("on") for name, _ in attributes)


def check_page(path: Path) -> None:
    """Raises UnexpectedError where a name of an altered file became a part of a page."""
    tags = _Tags()
    tags.feed(path.read_text(encoding="utf-8", errors="surrogatepass"))
    if tags.found:
        raise UnexpectedError(f"{path.name} has a name as a tag")
