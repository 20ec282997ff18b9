"""Energy that processors count themselves (RAPL), as Linux shows it in a folder of counters.

Counters are of whole packages and their memory: what other processes and an idle machine take counts, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bitfront.spaces import BitfrontError

ROOT = Path("/sys/class/powercap")
# Of zones that add up: "psys" and "core" have parts of others in them.
_ADDED = ("package", "dram")
_MICROJOULES = 1e6
# Counters are renewed every millisecond or so.
SECONDS = 1.0


@dataclass(frozen=True)
class EnergyCounters:
    """The counters of a machine.

    Attributes:
        zones: Their folders, each with ``energy_uj`` and ``max_energy_range_uj``.
    """

    zones: tuple[Path, ...]

    @classmethod
    def found(cls, root: Path = ROOT) -> EnergyCounters:
        """Those of packages and of their memory.

        Raises:
            BitfrontError: There are none, or they may not be read; says which, in a few words.
        """
        if not root.is_dir():
            raise BitfrontError(f"this system has no {root}")
        zones = tuple(path for path in sorted(root.glob("*:*")) if _name(path).startswith(_ADDED))
        if not any(_name(path).startswith(_ADDED[0]) for path in zones):
            raise BitfrontError(f"{root} has no counters of a processor")
        counters = cls(zones)
        counters.read()
        return counters

    def read(self) -> tuple[int, ...]:
        """Microjoules of each zone since some time or other.

        Raises:
            BitfrontError: They may not be read.
        """
        try:
            return tuple(int((zone / "energy_uj").read_text()) for zone in self.zones)
        except PermissionError as error:
            raise BitfrontError(f"{error.filename} may not be read: have its owner let you") from error
        except (OSError, ValueError) as error:
            raise BitfrontError(f"the counters cannot be read ({error})") from error

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Joules between two readings, less than one turn of each counter apart."""
        total = 0
        for zone, first, last in zip(self.zones, before, after, strict=True):
            total += last - first if last >= first else last - first + _range(zone)
        return total / _MICROJOULES

    def joules_of(self, run: Callable[[], object], seconds: float = SECONDS) -> float:
        """Joules of one call, the mean over calls for some time; nothing else should run meanwhile."""
        run()
        before, calls, started = self.read(), 0, time.perf_counter()
        while not calls or time.perf_counter() - started < seconds:
            run()
            calls += 1
        return self.joules(before, self.read()) / calls


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _range(zone: Path) -> int:
    try:
        return int((zone / "max_energy_range_uj").read_text())
    except (OSError, ValueError) as error:
        raise BitfrontError(f"the counters cannot be read ({error})") from error
