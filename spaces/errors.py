"""The project's errors: what was wrong, what was expected, how to fix it, in one line."""

from __future__ import annotations


class BitfrontError(Exception):
    """A failure that the program could not avoid; the command line exits with status 1."""

    exit_status = 1


class UserError(BitfrontError):
    """A request that cannot be carried out as stated; the command line exits with status 2.

    The message is one line: what was wrong, what was expected, and how to fix it.
    """

    exit_status = 2


def one_line(error: BaseException, longest: int | None = None) -> str:
    """An error's message for a terminal: on one line, without control characters, or else its type's name."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)[:longest]
