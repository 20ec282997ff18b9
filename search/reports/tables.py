"""Tables: headings, alignment and rows, on a terminal by rich, or as Markdown, HTML and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table as RichTable


# What Markdown and HTML within it take for marks; an underscore within a word is none.
_MARKDOWN = re.compile(r"[\\`*\[\]<|&~$]|(?<![^\W_])_|_(?![^\W_])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{sign: f"${sign}$" for sign in "<>|"},
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EM DASH}": "---",
    "\N{EN DASH}": "--",
}


def markdown_text(text: str) -> str:
    """A text as Markdown shows it on one line, whatever is in it."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))


def latex_text(text: str) -> str:
    """A text as LaTeX sets it on one line, whatever is in it; control characters are left out."""
    plain = "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
    return "".join(_LATEX.get(sign, sign) for sign in plain)


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: A text for each column.
        style: Of rich, such as ``bold``; terminals alone show it.
        ends_section: Whether a line is drawn below it where the table has lines.
    """

    cells: Sequence[str]
    style: str = ""
    ends_section: bool = False


@dataclass
class Table:
    """A table; ``console.print`` shows it.

    Attributes:
        headings: Headings of the columns, of one or two lines.
        texts: Places of the columns of texts: these are aligned to the left, those of numbers to the right.
        lines: Whether a terminal draws lines below the headings and between sections.
        collapse_padding: Whether columns stand one space apart, not two.
        unbroken: Places of the columns whose cells are cut where a terminal is narrow; others are broken into
            lines.
        rows: The rows.
    """

    headings: Sequence[str]
    texts: Sequence[int] = (0,)
    lines: bool = False
    collapse_padding: bool = False
    unbroken: Sequence[int] = ()
    rows: list[Row] = field(default_factory=list)

    def add(self, *cells: str, style: str = "", ends_section: bool = False) -> None:
        """Adds a row."""
        self.rows.append(Row(cells, style, ends_section))

    def extend(self, rows: Iterable[Sequence[str]]) -> Table:
        """Adds rows and returns the table."""
        self.rows.extend(map(Row, rows))
        return self

    def __rich__(self) -> RichTable:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            box=SIMPLE_HEAD if self.lines else None,
            pad_edge=False,
            show_edge=False,
            header_style="bold",
            collapse_padding=self.collapse_padding,
        )
        for place, heading in enumerate(self.headings):
            side: Literal["left", "right"] = "left" if place in self.texts else "right"
            table.add_column(heading, justify=side, no_wrap=place in self.unbroken)
        for row in self.rows:
            table.add_row(*map(Text, row.cells), style=row.style, end_section=row.ends_section)
        return table

    def markdown(self) -> str:
        """The table in Markdown, without a newline at the end."""
        return "\n".join(self._markdown_lines())

    def _markdown_lines(self) -> Iterator[str]:
        rule = ["---" if place in self.texts else "---:" for place in range(len(self.headings))]
        for cells in (self.headings, rule, *(row.cells for row in self.rows)):
            escaped = map(markdown_text, cells) if cells is not rule else cells
            yield f"| {' | '.join(escaped)} |"

    def latex(self) -> str:
        """The table as a ``tabular`` of LaTeX, which needs no package; every text is escaped."""
        sides = "".join("l" if place in self.texts else "r" for place in range(len(self.headings)))
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\hline", self._latex_row(self.headings), r"\hline"]
        for row in self.rows:
            lines.append(self._latex_row(row.cells))
            if row.ends_section and row is not self.rows[-1]:
                lines.append(r"\hline")
        return "\n".join([*lines, r"\hline", r"\end{tabular}"])

    @staticmethod
    def _latex_row(cells: Sequence[str]) -> str:
        return rf"{' & '.join(map(latex_text, cells))} \\"

    def html(self) -> str:
        """The table in HTML, every text escaped."""
        lines = [self._html_row("th", [escape(heading).replace("\n", "<br>") for heading in self.headings])]
        for row in self.rows:
            form = "<b>{}</b>" if row.style == "bold" else "{}"
            lines.append(self._html_row("td", [form.format(escape(cell)) for cell in row.cells]))
        return "\n".join(["<table>", *lines, "</table>"])

    def _html_row(self, tag: str, cells: Sequence[str]) -> str:
        shown = "".join(
            f'<{tag} style="text-align: {"left" if place in self.texts else "right"}">{cell}</{tag}>'
            for place, cell in enumerate(cells)
        )
        return f"<tr>{shown}</tr>"


def markdown_page(
    title: str, sections: Iterable[tuple[str, Table]], *lists: Iterable[str], leading: Iterable[str] = ()
) -> str:
    """A Markdown text: a title, leading paragraphs, a table below each heading, and lists of sentences."""
    parts = [title, *leading]
    for heading, table in sections:
        parts += [f"**{heading}**", table.markdown()]
    parts += ["\n".join(f"- {line}" for line in lines) for lines in lists]
    return "\n\n".join(parts) + "\n"


def latex_page(leading: Iterable[str], sections: Iterable[tuple[str, Table]], notes: Iterable[str]) -> str:
    """LaTeX for a document to take in: paragraphs, each table with its caption, and a list of notes."""
    parts = [rf"\noindent\textbf{{{latex_text(line)}}}" for line in leading]
    for heading, table in sections:
        caption = rf"\caption{{{latex_text(heading)}}}"
        parts.append("\n".join([r"\begin{table}[ht]\centering", caption, table.latex(), r"\end{table}"]))
    items = [rf"\item {latex_text(line)}" for line in notes]
    if items:
        parts.append("\n".join([r"\begin{itemize}", *items, r"\end{itemize}"]))
    return "\n\n".join(parts) + "\n"
