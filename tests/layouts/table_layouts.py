"""Tables of labels and tables of images as people and tools write them, made from scratch."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_layouts import PETS, folders, write_images
from layout import Data, Layout
from saved_tables import image_table, save_parquet, save_parts, save_to_disk

from bitfront.evaluators.data.parts import find_test_folder

NUMBERS = {"a.png": 7, "b.png": 0, "sub/c.png": 3}
NAMED = {"a.png": 1, "b.png": 0, "sub/c.png": 1}
IN_WORDS = "a.png,dog\nb.png,cat\nsub/c.png,dog\n"


def table(
    text: str,
    labels: Mapping[str, int] = NUMBERS,
    name: str = "labels.csv",
    encoding: str = "utf-8",
    **given: Any,
) -> Callable[[Path], Data]:
    """Images beside a table; ``{}`` in its text stands for the folder."""

    def make(folder: Path) -> Data:
        write_images(folder, labels)
        mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
        (folder / name).write_bytes(mark + text.replace("{}", str(folder)).encode(encoding))
        return Data({"data": str(folder / name), **given}, labels)

    return make


def with_map(text: str, labels: Mapping[str, int]) -> Callable[[Path], Data]:
    """A table of class names beside a class map of the names in the text's first line."""

    def make(folder: Path) -> Data:
        names, _, rows = text.partition("\n")
        made = table(rows, labels)(folder)
        (folder / "map.txt").write_text("\n".join(names.split()))
        return Data({**made.given, "class_map": str(folder / "map.txt")}, labels)

    return make


def saved(write: Callable[[Path], object], labels: Mapping[str, int], **given: Any) -> Callable[[Path], Data]:
    """What a tool writes into the folder."""

    def make(folder: Path) -> Data:
        write(folder)
        return Data({"data": str(folder), **given}, labels)

    return make


def rows_of(*files: str) -> dict[str, int]:
    """Two rows in each file, of the classes 0 and 1."""
    return {f"{file} row {row}": row for file in files for row in (0, 1)}


def damaged(folder: Path) -> None:
    path = save_parquet(folder / "x.parquet", image_table([0, 1]))
    path.write_bytes(path.read_bytes()[:-20])


def on_the_hub(folder: Path) -> None:
    for part in PARTS:
        save_parquet(folder / f"data/{part}-0.parquet", image_table([0, 1]))


def three_parts(folder: Path) -> Data:
    """Folders that a new run takes its test images from the last of."""
    made = folders(
        {f"{side}/{name}": label for side in ("train", "val", "test") for name, label in PETS.items()}
    )
    return Data({**made(folder).given, "test_data": find_test_folder(str(folder))}, made(folder).labels)


SHARD = "data-00000-of-00001.arrow"
PARTS = ("train", "validation", "test")

TABLES = (
    Layout("a person", "`labels.csv` of `path,label`", table("path,label\na.png,7\nb.png,0\nsub/c.png,3\n")),
    Layout(
        "spreadsheets",
        "semicolons, a byte order mark, `\\r\\n`",
        table("path;label\r\na.png;7\r\nb.png;0\r\nsub/c.png;3\r\n", encoding="utf-8-sig"),
    ),
    Layout(
        "Excel",
        "“Unicode text”: UTF-16 and tabs in a `.txt`",
        table("path\tlabel\r\na.png\t7\r\nb.png\t0\r\nsub/c.png\t3\r\n", name="l.txt", encoding="utf-16-le"),
    ),
    Layout(
        "Excel",
        "Windows-1252",
        table("path;label\nKäfer.png;7\n", {"Käfer.png": 7}, encoding="cp1252"),
        said="read as Windows-1252",
    ),
    Layout(
        "pandas `to_csv`",
        "a column of row numbers, `filename`, `class_id` with decimals",
        table(",filename,class_id\n0,a.png,7.0\n1,b.png,0.0\n2,sub/c.png,3.0\n"),
        said="took the columns filename,class_id",
    ),
    Layout(
        "ImageNet",
        "`val.txt`: no names of columns, a blank between",
        table("a.png 7\nb.png 0\nsub/c.png 3\n", name="val.txt"),
        said="the first line is taken for an image",
    ),
    Layout("a person", "absolute paths", table("path,label\n{}/a.png,7\n{}/b.png,0\n{}/sub/c.png,3\n")),
    Layout("Windows", "backslashes", table("path,label\na.png,7\n.\\b.png,0\nsub\\c.png,3\n")),
    Layout("a person", "class names for numbers", table(f"path,label\n{IN_WORDS}", NAMED)),
    Layout(
        "a person",
        "class names, `--class-map` of one name a line",
        with_map(f"ape cat dog\npath,label\n{IN_WORDS}", {name: n + 1 for name, n in NAMED.items()}),
    ),
    Layout(
        "a person",
        "two columns that may be the label",
        table("path,class_id,class_name\na.png,7,cat\n"),
        refused="name them with --columns PATH,LABEL",
    ),
    Layout(
        "a person",
        "the same with `--columns path,class_id`",
        table(
            "path,class_id,class_name\na.png,7,x\nb.png,0,y\nsub/c.png,3,z\n", columns=("path", "class_id")
        ),
    ),
    Layout(
        "a person",
        "rows without a label, a file that is not there",
        table("path,label\na.png,7\nb.png,0\nx.png,\ngone.png,1\nsub/c.png,3\n"),
        said="1 row left out whose files are not there",
    ),
    Layout(
        "Kaggle",
        "`id,label`, ids without endings",
        table("id,label\na,7\nb,0\n"),
        refused="a.png is there: write paths with their endings",
    ),
    Layout(
        "a person",
        "numbers and names in one column",
        table("path,label\na.png,7\nb.png,cat\n"),
        refused="label 'cat' is not a class index",
    ),
    Layout(
        "a person",
        "`Train/<class>/` and `Val/<class>/`",
        folders({f"{side}/{name}": label for side in ("Train", "Val") for name, label in PETS.items()}),
    ),
    Layout("a person", "`train`, `val` and `test`", three_parts, said="test images from test"),
    Layout(
        "Hugging Face `datasets`",
        "`save_to_disk` of a `Dataset`",
        saved(lambda folder: save_to_disk(folder, image_table([0, 1])), rows_of(SHARD)),
    ),
    Layout(
        "Hugging Face `datasets`",
        "`save_to_disk` of a `DatasetDict`",
        saved(
            lambda folder: save_parts(folder, dict.fromkeys(PARTS, image_table([0, 1]))),
            rows_of(*(f"{part}/{SHARD}" for part in PARTS)),
        ),
        said="took the parts",
    ),
    Layout(
        "Hugging Face hub",
        "`data/train-00000-of-00001.parquet`, `data/test-...`",
        saved(
            lambda folder: [
                save_parquet(folder / f"data/{part}-0.parquet", image_table([0, 1])) for part in PARTS
            ],
            rows_of(*(f"{part}-0.parquet" for part in PARTS)),
        ),
        said="took the parts",
    ),
    Layout(
        "pandas, polars",
        "parquet with a column of bytes and class numbers",
        saved(
            lambda folder: save_parquet(folder / "x.parquet", image_table([0, 1], names=None)),
            rows_of("x.parquet"),
        ),
    ),
    Layout(
        "a download",
        "a parquet file that is cut off",
        saved(damaged, {}),
        refused="expected a whole parquet or Arrow file",
    ),
)
