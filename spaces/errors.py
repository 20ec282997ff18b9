"""The project's errors: what was wrong, what was expected, how to mend it, in one line."""

from __future__ import annotations


class BitfrontError(Exception):
    """A failure that the program could not avoid; the command line exits with status 1."""

    exit_status = 1


class UserError(BitfrontError):
    """A request that cannot be carried out as stated; the command line exits with status 2.

    The message is one line: what was wrong, what was expected, and how to mend it.
    """

    exit_status = 2
