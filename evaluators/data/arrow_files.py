"""Arrow and parquet files: one column whole, others row by row, so that images are never all in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

PARQUET_SUFFIX, ARROW_SUFFIX = ".parquet", ".arrow"
# Rows of a parquet file that are decoded at a time.
_BATCH = 32


class TableFile(Protocol):
    """A table in a file, whose columns are known by name."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def schema(self) -> Any:
        """Of pyarrow, for what else it says of the columns."""

    @property
    def types(self) -> Mapping[str, Any]:
        """Names of the columns and their types, as pyarrow has these."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def values(self, column: str) -> list[Any]:
        """A column as Python values."""

    def item(self, column: str, row: int) -> Any:
        """One value; rows that ascend are read quickest."""


def features_of(schema: Any) -> Mapping[str, Any]:
    """What the ``datasets`` library wrote of the columns into a schema; empty where it did not."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def open_table_file(path: Path) -> TableFile:
    """Opens a parquet file, or an Arrow file as ``datasets`` writes them; nothing but its columns is read.

    Raises:
        UserError: It is no such file, or pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(f"reading {path} needs pyarrow: pip install 'bitfront[parquet]'") from error
    with _told(path):
        return _ParquetFile(path) if path.suffix.lower() == PARQUET_SUFFIX else _ArrowFile(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of a damaged file as the user's."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise UserError(
            f"cannot read {path}: {one_line(error, 160)}; expected a whole parquet or Arrow file: fetch or "
            "save it again"
        ) from error


def _types(schema: Any) -> dict[str, Any]:
    types = {field.name: field.type for field in schema}
    if len(types) < len(schema):
        raise ValueError("two columns have the same name")
    return types


class _ArrowFile:
    """A memory-mapped Arrow file: values are copied when they are asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        self.path = path
        mapped = pyarrow.memory_map(str(path))
        try:
            self._table = pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:  # the form with an index at the end
            self._table = pyarrow.ipc.open_file(mapped).read_all()
        self._table.validate()
        self.schema = self._table.schema
        self.types = _types(self.schema)
        self.rows = int(self._table.num_rows)
        self._checked: set[str] = set()

    def values(self, column: str) -> list[Any]:
        with _told(self.path):
            return list(self._column(column).to_pylist())

    def item(self, column: str, row: int) -> Any:
        with _told(self.path):
            return self._column(column)[row].as_py()

    def _column(self, name: str) -> Any:
        column = self._table[name]
        if name not in self._checked:
            column.validate(full=True)  # offsets of a damaged file would lead out of it
            self._checked.add(name)
        return column


class _ParquetFile:
    """A parquet file that is gone through forwards, some rows at a time."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.path = path
        self._file = parquet.ParquetFile(path, memory_map=True)
        self.schema = self._file.schema_arrow
        groups = (self._file.metadata.row_group(group) for group in range(self._file.num_row_groups))
        self.types = _types(self.schema)
        self.rows = int(self._file.metadata.num_rows)
        self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self._column, self._group = "", -1  # that are being gone through
        self._batches: Iterator[Any] = iter(())
        self._first, self._batch = 0, list[Any]()

    def values(self, column: str) -> list[Any]:
        with _told(self.path):
            found: list[Any] = self._file.read(columns=[column])[column].to_pylist()
            if len(found) != self.rows:
                raise ValueError(f"it has {len(found)} rows and says {self.rows}")
            return found

    def item(self, column: str, row: int) -> Any:
        with _told(self.path):
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            if (column, group) != (self._column, self._group) or row < self._first:
                self._column, self._group = column, group
                self._batches = self._file.iter_batches(_BATCH, row_groups=[group], columns=[column])
                self._first, self._batch = int(self._starts[group]), []
            while row >= self._first + len(self._batch):
                self._first += len(self._batch)
                batch = next(self._batches, None)
                if batch is None:
                    raise ValueError(f"it ends before row {row}")
                self._batch = batch.column(0).to_pylist()
            return self._batch[row - self._first]
