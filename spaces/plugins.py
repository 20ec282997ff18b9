"""What other installed packages add, by entry points (see the packaging guide on creating plug-ins)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from typing import Any, TypeVar, cast

from bitfront.spaces.errors import UserError, one_line

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Plugin:
    """Something that another package adds.

    Attributes:
        entry: Its entry point.
    """

    entry: EntryPoint

    @property
    def package(self) -> str:
        """Name of the package that adds it."""
        return self.entry.dist.name if self.entry.dist else self.entry.module

    def load(self, kind: type[Kind]) -> Kind:
        """Imports it.

        Raises:
            UserError: The package cannot be imported, or adds something else; it is named.
        """
        found = self._imported()
        if not isinstance(found, kind):
            raise self._unfit(f"is {type(found).__name__}, not {kind.__name__}")
        return found

    def load_callable(self) -> Callable[..., Any]:
        """Imports what is called to make it, such as a class; errors as in :meth:`load`."""
        found = self._imported()
        if not callable(found):
            raise self._unfit(f"is {type(found).__name__}, which cannot be called")
        return cast(Callable[..., Any], found)

    def _imported(self) -> object:
        try:
            return self.entry.load()
        except Exception as error:  # whatever another package's import may raise
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise self._unfit(f"cannot be loaded ({reason})") from error

    def _unfit(self, reason: str) -> UserError:
        named = f"{self.entry.group} {self.entry.name!r} of package {self.package}"
        return UserError(f"{named} {reason}: mend or uninstall it")


def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group, such as ``bitfront.metrics``, by name; nothing is imported."""
    return {entry.name: Plugin(entry) for entry in _entry_points() if entry.group == group}


@functools.cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """Ours of all installed packages, looked for once: it takes some milliseconds."""
    every = (entry for package in distributions() for entry in package.entry_points)
    return tuple(entry for entry in every if entry.group.startswith("bitfront."))
