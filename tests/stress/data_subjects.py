"""Images, tables of labels, class maps, latency tables and hardware profiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mutations import BYTES, JSON, PICTURE, TABLE, WORDS, Mutation
from subject import Subject


def _images(folder: Path, form: str = "png", classes: int = 3, each: int = 4) -> list[str]:
    import numpy as np
    from PIL import Image

    rng, paths = np.random.default_rng(0), []
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            path = folder / f"class{label}" / f"{number}.{form}"
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(path)
            paths.append(path.relative_to(folder).as_posix())
    return paths


def _make_table(folder: Path) -> None:
    paths = _images(folder / "images")
    rows = [f"images/{path},{path.split('/')[0]}" for path in paths]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    rows = [f"images/{path},{path[5]}" for path in paths]
    (folder / "numbers.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (folder / "map.json").write_text(json.dumps({f"class{label}": label for label in range(3)}))
    (folder / "map.csv").write_text("name,index\n" + "".join(f"class{label},{label}\n" for label in range(3)))
    (folder / "map.txt").write_text("class0\nclass1\nclass2\n")


def _loaded(source) -> object:
    from bitfront.evaluators.data.source import CorruptImageError

    found = []
    for index in range(min(len(source), 20)):
        try:
            found.append(source.load(index).size)
        except CorruptImageError:
            found.append(source.describe(index))
    return found, source.labels.tolist(), source.class_names


def _table(name: str, class_map: str | None = None):
    def read(folder: Path) -> object:
        from bitfront.evaluators.data.registry import open_source

        return _loaded(open_source(str(folder / name), class_map=class_map and str(folder / class_map)))

    return read


def _make_folders(folder: Path) -> None:
    for form in ("png", "jpg", "tiff", "webp", "bmp", "ppm"):
        _images(folder / form, form, 2, 3)


def _folders(form: str):
    def read(folder: Path) -> object:
        from bitfront.evaluators.data.registry import open_source

        return _loaded(open_source(str(folder / form)))

    return read


def _make_arrow(folder: Path) -> None:
    from saved_tables import image_table, save_parquet, save_to_disk

    save_parquet(folder / "images.parquet", image_table([0, 1, 0, 1, 0, 1]))
    save_to_disk(folder / "saved", image_table([0, 1, 0, 1, 0, 1]))


def _make_latency(folder: Path) -> None:
    from priceable_run import table

    from bitfront.evaluators.latency.table_file import table_csv

    (folder / "phone.csv").write_text(table_csv(table(1)))


def _latency(folder: Path) -> object:
    from bitfront.evaluators.latency.table_file import read_table

    return repr(read_table(folder / "phone.csv"))


def _make_profile(folder: Path) -> None:
    from bitfront.evaluators.latency.hardware_profile import PROFILES

    for path in sorted(PROFILES.glob("*.toml")):
        shutil.copy(path, folder / path.name)


def _profile(name: str):
    def read(folder: Path) -> object:
        from bitfront.evaluators.latency.hardware_profile import profile_named

        found = profile_named(str(folder / name))
        found.notes([4, 8])
        return repr(found)

    return read


def _of_every(
    names: tuple[str, ...], mutations: tuple[Mutation, ...]
) -> list[tuple[str, tuple[Mutation, ...]]]:
    return [(name, mutations) for name in names]


SUBJECTS = (
    Subject(
        "table of labels",
        _make_table,
        [("labels.csv", TABLE), ("numbers.csv", TABLE)],
        [_table("labels.csv"), _table("numbers.csv")],
    ),
    Subject(
        "class map",
        _make_table,
        [("map.json", JSON), ("map.csv", TABLE), ("map.txt", TABLE)],
        [_table("labels.csv", f"map.{form}") for form in ("json", "csv", "txt")],
    ),
    *(
        Subject(
            f"images ({form})",
            _make_folders,
            _of_every(
                (f"{form}/class0/0.{form}", f"{form}/class1/2.{form}"), PICTURE if form == "png" else BYTES
            ),
            [_folders(form)],
            share=0.5,
        )
        for form in ("png", "jpg", "tiff", "webp", "bmp", "ppm")
    ),
    Subject("parquet", _make_arrow, [("images.parquet", BYTES)], [_table("images.parquet")]),
    Subject(
        "Arrow, as datasets saves it",
        _make_arrow,
        [
            ("saved/data-00000-of-00001.arrow", BYTES),
            ("saved/state.json", JSON),
            ("saved/dataset_info.json", JSON),
        ],
        [_table("saved")],
    ),
    Subject("latency table", _make_latency, [("phone.csv", TABLE)], [_latency]),
    Subject(
        "hardware profile",
        _make_profile,
        _of_every(("a100.toml", "bops.toml"), WORDS),
        [_profile("a100.toml"), _profile("bops.toml")],
    ),
)
