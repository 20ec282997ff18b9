"""The table of faults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HEADINGS = (
    "fault",
    "tries",
    "survived",
    "refused in one line",
    "evaluations lost",
    "wrong results",
    "time to recover",
)


@dataclass(frozen=True)
class Line:
    """What came of a fault.

    Attributes:
        fault: In words.
        tries: How often.
        survived: Of these, those that ended as they must.
        refused: Of these, those that ended with an error of one line; None where none may.
        lost: Evaluations that were recorded and then evaluated once more; None where nothing is evaluated.
        wrong: Results that differ from those without the fault.
        longest: Longest time until it was refused, read or gone on with, in seconds.
        seconds: Of all tries.
    """

    fault: str
    tries: int
    survived: int
    refused: int | None = None
    lost: int | None = None
    wrong: int = 0
    longest: float = 0.0
    seconds: float = 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        refused, lost = ("-" if value is None else str(value) for value in (self.refused, self.lost))
        counts = (str(self.tries), str(self.survived), refused, lost, str(self.wrong))
        return (self.fault, *counts, f"{self.longest:.1f} s")

    def text(self) -> str:
        return ", ".join(f"{head} {cell}" for head, cell in zip(HEADINGS, self.cells, strict=True)) + (
            f" ({self.seconds:.0f} s in all)"
        )


BEGINS, ENDS = "<!-- table -->\n", "<!-- end of the table -->\n"


def markdown(lines: list[Line]) -> str:
    """The table as Markdown."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(line.cells for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def put_into(page: Path, lines: list[Line]) -> None:
    """Replaces the lines of a page's table that have the same faults; others stay, new ones come behind."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGINS)
    table, _, after = rest.partition(ENDS)
    found = {row.split(" | ")[0].removeprefix("| "): row for row in table.splitlines()[2:]}
    found |= dict(zip((line.fault for line in lines), markdown(lines).splitlines()[2:], strict=True))
    head = markdown([])
    page.write_text(before + BEGINS + head + "".join(f"{row}\n" for row in found.values()) + ENDS + after)
