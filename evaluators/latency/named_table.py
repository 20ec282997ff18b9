"""Latency tables by the name of their file: read, named after their origin and checked, without torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bitfront.evaluators.context.machine import is_this_machine
from bitfront.evaluators.latency.registry import TABLE
from bitfront.evaluators.latency.table import LatencyTable
from bitfront.evaluators.latency.table_file import read_table
from bitfront.spaces import UserError


def named_table(path: Path, scheme: str) -> LatencyTable:
    """The table of a file; its source names the file, what that says of its origin, and another machine.

    Raises:
        UserError: The file cannot be read, or is for another scheme.
    """
    table = read_table(path)
    where = f", {table.machine}" if measured_elsewhere(table) else ""
    return of_scheme(
        dataclasses.replace(table, source=f"{TABLE}:{path.name} ({table.source}{where})"), scheme
    )


def of_scheme(table: LatencyTable, scheme: str) -> LatencyTable:
    """A table that may be used for a scheme.

    Raises:
        UserError: It is for another one.
    """
    if table.scheme and table.scheme != scheme:
        raise UserError(
            f"{table.source} is for scheme {table.scheme}, not {scheme}: give --scheme {table.scheme}, or a "
            "table of that scheme (`bitfront latency-table`)"
        )
    return table


def measured_elsewhere(table: LatencyTable) -> bool:
    """Whether a table says that another machine than this one ran it."""
    return bool(table.machine) and not is_this_machine(table.machine)
