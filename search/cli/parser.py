"""The argument parser: all commands, with one-line errors that offer the nearest spelling."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from bitfront.search.cli.commands import (
    bench,
    compare,
    compare_samplers,
    evaluate,
    export,
    front,
    latency_table,
    plot,
    profile,
    recommend,
    refine,
    report,
    runs,
    search,
    study,
    tables,
    train,
    verify,
    watch,
)
from bitfront.search.cli.options.common import add_common_options

if TYPE_CHECKING:
    from bitfront.spaces import UserError

# Each has SUMMARY, DETAIL, add_options(parser) and run(args), which returns the exit status.
COMMANDS: dict[str, ModuleType] = {
    "search": search,
    "runs": runs,
    "watch": watch,
    "front": front,
    "plot": plot,
    "report": report,
    "tables": tables,
    "recommend": recommend,
    "export": export,
    "verify": verify,
    "evaluate": evaluate,
    "profile": profile,
    "latency-table": latency_table,
    "bench": bench,
    "compare": compare,
    "compare-samplers": compare_samplers,
    "train": train,
    "refine": refine,
    "study": study,
}
_DESCRIPTION = """\
Finds the Pareto-best 4 and 8 bit assignments of a vision transformer: which encoders' weights, activations
and attention can take fewer bits, for the best accuracy, latency and size.
"""
_EPILOG = """\
a first search:  bitfront search
then:            bitfront front, bitfront plot, bitfront export --pick knee
one command:     bitfront COMMAND --help
"""
_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are :class:`UserError`, on one line."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage; a wrong choice is answered with the nearest one."""
        match = _CHOICE.search(message)
        near = _did_you_mean(match.group(1), re.findall(r"[\w:-]+", match.group(2))) if match else ""
        raise _mistake(f"{message}{near}; see `{self.prog} --help`")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"bitfront {version('bitfront')}")
        parser.exit()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the arguments of a command.

    Returns:
        The command's options; ``handler`` runs it, ``given`` has the names of the options that were written
        out, as opposed to left at their defaults, and ``words`` has these by name, as they were written.

    Raises:
        UserError: A command, an option or a value is not understood.
        SystemExit: Help or the version was asked for, and has been printed.
    """
    arguments = list(argv)
    if not arguments:
        build_parser()[0].print_help(sys.stderr)
        raise _mistake("no command was given: start with `bitfront search`")
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        near = _did_you_mean(command, COMMANDS) or f": choose one of {', '.join(COMMANDS)}"
        raise _mistake(f"there is no command {command!r}{near}")
    parser, commands = build_parser()
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _mistake(_unknown(unknown[0], args.command, commands[args.command]))
    args.given = _given(arguments, args)
    args.words = _words(arguments, commands[args.command])
    return args


def build_parser() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    """The parser of ``bitfront`` and those of its commands."""
    form: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = Parser(prog="bitfront", description=_DESCRIPTION, epilog=_EPILOG, **form)
    version = "print the version and exit"
    parser.add_argument("--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help=version)
    add_common_options(parser)
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, module in COMMANDS.items():
        command = subparsers.add_parser(name, help=module.SUMMARY, description=module.DETAIL, **form)
        add_common_options(command, default=argparse.SUPPRESS)
        module.add_options(command)
        command.set_defaults(handler=module.run)
        commands[name] = command
    return parser, commands


def _given(arguments: Sequence[str], args: argparse.Namespace) -> frozenset[str]:
    """Reads the arguments once more with a default that no one can have written."""
    untouched: list[object] = []  # a list, since options that may be given again append to a copy of theirs
    names = vars(args).keys() - {"command", "handler", "json", "verbose", "debug"}
    parser, commands = build_parser()
    commands[args.command].set_defaults(**dict.fromkeys(names, untouched))
    second = vars(parser.parse_args(arguments))
    return frozenset(name for name in names if second[name] is not untouched)


def _words(arguments: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The words of every option with its values, by its name."""
    names = {text: action.dest for action in parser._actions for text in action.option_strings}
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in arguments:
        name = names.get(word.partition("=")[0])
        if name is not None:
            current = found.setdefault(name, [])
        elif word in COMMANDS and current is None:
            continue
        if current is not None:
            current.append(word)
    return found


def _mistake(message: str) -> UserError:
    # The room of spaces loads numpy, which the help has no use for.
    from bitfront.spaces.errors import UserError

    return UserError(message)


def _unknown(word: str, command: str, parser: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; see `bitfront {command} --help`"
    options = re.findall(r"(?<![\w-])--[a-z0-9-]+", parser.format_help())
    near = _did_you_mean(word.partition("=")[0], options)
    return f"bitfront {command} has no option {word}{near}; see `bitfront {command} --help`"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
