"""``bitfront export``: one point of a front as a file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.search.cli.options import add_run_argument, command_parser, open_chosen_run
from bitfront.search.cli.output import hint, print_json, stdout_console

if TYPE_CHECKING:
    from bitfront.search.cli.options import Subparsers
    from bitfront.search.run_reader import Run

FORMATS = ("json",)
_DETAIL = """\
Writes one point of a front as a bit config: JSON with the bits of every encoder, what was measured and where
it comes from.

The knee is the point that balances accuracy against latency and size: nearest the best of each, on a scale of
ratios.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "export", "write a point of a front as a bit config", _DETAIL)
    add_run_argument(parser)
    parser.add_argument(
        "--pick",
        default="knee",
        metavar="POINT",
        help="knee, top1 (best), latency (fastest), size (smallest) or a trial number (default: %(default)s)",
    )
    parser.add_argument("--format", default="json", metavar="FORMAT", help="json (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write (default: in exports of the run folder)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that holds something else")
    parser.set_defaults(handler=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Writes the file and prints its path."""
    from bitfront.spaces.errors import UserError

    if args.format not in FORMATS:
        raise UserError(f"--format {args.format} is not available yet: use {', '.join(FORMATS)}")
    chosen = open_chosen_run(args)
    from bitfront.search.export import export_config, measured
    from bitfront.search.selection import pick

    path = export_config(chosen, args.pick, args.output, args.force)
    row = pick(chosen.front, args.pick, chosen.objectives)
    values = measured(row)
    if args.json:
        document = {"run": chosen.name, "trial": row["trial"], "digest": row["digest"], "path": path}
        print_json({**document, "format": args.format, "measured": values})
        return 0
    stdout_console().print(str(path), soft_wrap=True)
    hint(_evaluate_command(chosen, path))
    return 0


def _evaluate_command(run: Run, path: Path) -> str:
    """The command that confirms an exported config on the data of its run."""
    words = ["bitfront", "evaluate", "--config", str(path)]
    for name in ("model", "checkpoint", "data"):
        value = run.evaluation.get(name)
        if value not in (None, "digits_deit", "digits"):
            words += [f"--{name}", str(value)]
    return shlex.join(words + (["--pretrained"] if run.evaluation.get("pretrained") else []))
