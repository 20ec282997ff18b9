"""The directive ``command``: a command's usage and options, read from the parser that the program uses."""

from __future__ import annotations

import argparse
import os
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COLUMNS = "100"


class Command(SphinxDirective):
    """Describes the command of ``bitfront`` that is named as the argument."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """The command's description, usage and option groups."""
        parser = _command_parser(self.arguments[0])
        found: list[nodes.Node] = [*_description(parser), _literal(parser.format_usage().strip(), "text")]
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
            if actions:
                found.append(nodes.rubric(text=group.title or ""))
                found.append(_definitions(parser, actions))
        return found


def _command_parser(name: str) -> argparse.ArgumentParser:
    from bitfront.search.cli.parser import build_parser

    os.environ["COLUMNS"] = COLUMNS  # the width at which argparse breaks the usage
    os.environ["NO_COLOR"] = "1"
    return build_parser()[1][name]


def _description(parser: argparse.ArgumentParser) -> list[nodes.Node]:
    """Paragraphs as such; indented blocks, which are examples and lists, as they stand."""
    found: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", (parser.description or "").strip("\n")):
        if block.startswith("  "):
            found.append(_literal("\n".join(line[2:] for line in block.splitlines()), "text"))
        elif re.search(r"\n {2}", block):
            first, _, rest = block.partition("\n  ")
            found += [
                nodes.paragraph("", "", *_text(first)),
                _literal("\n".join(line.removeprefix("  ") for line in rest.splitlines()), "text"),
            ]
        else:
            found.append(nodes.paragraph("", "", *_text(" ".join(block.split()))))
    return found


def _definitions(parser: argparse.ArgumentParser, actions: list[argparse.Action]) -> nodes.definition_list:
    formatter = parser._get_formatter()
    items = nodes.definition_list()
    for action in actions:
        words = formatter._format_action_invocation(action)
        meaning = formatter._expand_help(action) if action.help else ""
        items += nodes.definition_list_item(
            "",
            nodes.term("", "", nodes.literal(text=words)),
            nodes.definition("", nodes.paragraph("", "", *_text(" ".join(meaning.split())))),
        )
    return items


def _text(words: str) -> list[nodes.Node]:
    """Text with options, and what stands between backticks, as literals."""
    parts = re.split(r"(`[^`]+`|(?<![\w-])--[a-z0-9-]+)", words)
    return [
        nodes.literal(text=p.strip("`")) if number % 2 else nodes.Text(p) for number, p in enumerate(parts)
    ]


def _literal(text: str, language: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language=language)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
