"""The names of runs, the folder that holds them, and the commands that go on from one."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from bitfront.spaces import UserError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LONGEST_NAME = 100


def runs_root(runs_dir: str | Path | None = None) -> Path:
    """The folder of the runs: the given one, what the variable ``BITFRONT_RUNS`` names, or ``runs``."""
    return Path(runs_dir or os.environ.get("BITFRONT_RUNS") or "runs")


def command_line(*words: object) -> str:
    """A ``bitfront`` command as a shell reads it, whatever is in its words."""
    return shlex.join(["bitfront", *map(str, words)])


def run_command(folder: Path, *words: object) -> str:
    """A command on the run in ``folder``, which says where the runs are if that is not the usual folder."""
    return command_line(*words, *runs_dir_options(folder.parent))


def runs_dir_options(root: Path) -> list[str]:
    """``--runs-dir`` where a folder of runs is not the one that is taken without it."""
    return [] if root.absolute() == runs_root().absolute() else ["--runs-dir", str(root)]


def together_folder(folders: Sequence[Path]) -> Path:
    """The folder of what several runs share, beside the first one; no run is called so."""
    together = "+".join(folder.name for folder in folders)
    if len(together) > _LONGEST_NAME:
        together = f"{len(folders)}+runs+{hashlib.sha256(together.encode()).hexdigest()[:8]}"
    return folders[0].parent / together


def checked_name(name: str) -> str:
    """The name of a run, if it is plain enough to be that of a folder.

    Raises:
        UserError: It has other characters than letters, digits, dot, underscore and hyphen, begins with a dot
            or hyphen, or is longer than 100.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is not a name for a run: use up to 100 letters, digits, dots, underscores and "
            "hyphens, beginning with a letter, digit or underscore"
        )
    return name


def plain_name(text: str) -> str:
    """A text as part of the name of a file or folder: what other characters there are becomes underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)
