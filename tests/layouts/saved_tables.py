"""Data sets of images as the ``datasets`` library saves them, written by pyarrow alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def png(shade: int) -> bytes:
    """A small image of one shade."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def image_table(
    labels: Sequence[Any],
    names: Sequence[str] | None = ("cat", "dog"),
    first: int = 0,
    columns: tuple[str, str] = ("image", "label"),
    label_type: Any = None,
    images: Sequence[Any] | None = None,
) -> pa.Table:
    """A table whose images are of the shades ``first`` and on, with what ``datasets`` says of the columns."""
    shown = range(first, first + len(labels))
    images = [{"bytes": png(n), "path": f"{n}.png"} for n in shown] if images is None else images
    feature = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    info = {"info": {"features": {columns[0]: {"_type": "Image"}, columns[1]: feature}}}
    fields = [pa.field(columns[0], IMAGE), pa.field(columns[1], label_type or pa.int64())]
    schema = pa.schema(fields, {"huggingface": json.dumps(info)} if names else None)
    return pa.Table.from_arrays([pa.array(images, IMAGE), pa.array(labels, fields[1].type)], schema=schema)


def save_to_disk(folder: Path, *tables: pa.Table) -> Path:
    """A folder as ``Dataset.save_to_disk`` writes it, with a file for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{n:05d}-of-{len(tables):05d}.arrow" for n in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None, "_format_type": None}
    (folder / "state.json").write_text(json.dumps(state))
    info = json.loads((tables[0].schema.metadata or {}).get(b"huggingface", b'{"info": {"features": {}}}'))
    (folder / "dataset_info.json").write_text(json.dumps(info["info"]))
    return folder


def save_parts(folder: Path, parts: Mapping[str, pa.Table]) -> Path:
    """A folder as ``DatasetDict.save_to_disk`` writes it."""
    for name, table in parts.items():
        save_to_disk(folder / name, table)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    return folder


def save_parquet(path: Path, table: pa.Table, rows: int = 4) -> Path:
    """A parquet file with so many rows in a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path
