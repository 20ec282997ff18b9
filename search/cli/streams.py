"""What is printed where stdout or stderr cannot hold every sign, or is closed."""

from __future__ import annotations

import codecs
import io
import os
import sys

SUBSTITUTING = "bitfront-substitute"
# Signs that have a spelling in ASCII; others become question marks.
_SPELT = str.maketrans(
    {
        "\N{PLUS-MINUS SIGN}": "+-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{EM DASH}": "-",
        "\N{EN DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{BLACK STAR}": "*",
        "\N{MIDDLE DOT}": ".",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{MICRO SIGN}": "u",
        "\N{SUPERSCRIPT TWO}": "2",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        # Of bars and lines that rich draws.
        "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
        "\N{BOX DRAWINGS HEAVY HORIZONTAL}": "-",
        "\N{BOX DRAWINGS HEAVY LEFT}": "-",
        "\N{BOX DRAWINGS HEAVY RIGHT}": "-",
        "\N{FULL BLOCK}": "#",
        # Of curves in a line of text.
        "\N{LOWER ONE EIGHTH BLOCK}": "_",
        "\N{LOWER ONE QUARTER BLOCK}": ".",
        "\N{LOWER THREE EIGHTHS BLOCK}": "-",
        "\N{LOWER HALF BLOCK}": "=",
        "\N{LOWER FIVE EIGHTHS BLOCK}": "+",
        "\N{LOWER THREE QUARTERS BLOCK}": "*",
        "\N{LOWER SEVEN EIGHTHS BLOCK}": "%",
    }
)


def substitute_signs() -> None:
    """Has signs that the encoding of stdout or stderr lacks spelt out: none may end a finished search.

    A stream that was closed before the program began swallows what is written to it. How a user has unknown
    signs written, such as by ``PYTHONIOENCODING=ascii:replace``, stays as it is.
    """
    codecs.register_error(SUBSTITUTING, _substitute)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in (
            "strict",
            "surrogateescape",
            "backslashreplace",
        ):
            stream.reconfigure(errors=SUBSTITUTING)


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spells signs that cannot be encoded; bytes in names of files that are no text stay what they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    if all("\udc80" <= sign <= "\udcff" for sign in signs):
        return signs.encode("ascii", "surrogateescape"), error.end
    spelt = signs.translate(_SPELT)
    return "".join(sign if sign.isascii() else "?" for sign in spelt), error.end


def forget_closed_pipes() -> None:
    """Keeps the interpreter, which flushes streams at its end, from telling again that a reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
