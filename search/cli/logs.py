"""What the library logs, on stderr."""

from __future__ import annotations

import logging
import sys

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the time, so that a live display is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        print(self.format(record), file=sys.stderr)


def log_to_stderr(verbosity: int) -> None:
    """Shows warnings, with verbosity 1 also what is being done, with 2 everything.

    Other packages' records stay at warnings.
    """
    root, library = logging.getLogger(), logging.getLogger("bitfront")
    for handler in [h for h in root.handlers if isinstance(h, StderrHandler)]:
        root.removeHandler(handler)
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    # A run's log file may lower the library's level meanwhile: what is shown here stays as asked for.
    handler.addFilter(lambda record: record.levelno >= level)
    root.addHandler(handler)
    library.setLevel(level)
