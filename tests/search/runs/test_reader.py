"""Run folders are read whole, or refused with one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bitfront.search.runs.folder import read_space, write_space
from bitfront.search.runs.listing import list_runs
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import EncoderLayers, SearchSpace, UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, run_folder: MakeRun) -> Path:
    return run_folder(tmp_path, name="r", count=40, encoders=2)


def test_run_has_everything_that_was_written(runs_dir: Path) -> None:
    run = RecordedRun.read(runs_dir, "digits-1")
    assert run.evaluation["model"] == "digits_deit"
    assert run.objectives == ("top1", "latency", "size")
    assert len(run.trials) == 240
    assert run.trials["feasible"].dtype == bool
    assert run.trials.loc[run.trials["state"] == "failed", "top1"].isna().all()
    assert [r.name for r in run.references] == ["float32", "W8A8T8", "W4A4T4"]
    assert not run.references[1].test_values
    assert run.limits[0].label == "--max-size 0.95x"
    assert run.latency_source == "measured:torch"
    assert len(run.genes) == 36


def test_digests_stay_text(folder: Path) -> None:
    lines = (folder / "front.csv").read_text().splitlines()
    fields = lines[1].split(",")
    fields[1] = "001234567890"
    (folder / "front.csv").write_text("\n".join([lines[0], ",".join(fields)]) + "\n")
    assert RecordedRun.read(folder.parent, "r").front["digest"].tolist() == ["001234567890"]


def test_running_run_has_no_summary_yet(folder: Path) -> None:
    (folder / "summary.json").unlink()
    (folder / "references.json").unlink()
    run = RecordedRun.read(folder.parent, "r")
    assert run.summary == {}
    assert run.references == ()
    assert run.latency_source == "measured:torch"
    assert list_runs(folder.parent)[0].status == "killed"


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "/etc", ".hidden", "-x", "a b", "a\nb"])
def test_names_stay_inside_the_runs_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a name for a run"):
        RecordedRun.read(tmp_path, name)


def test_unknown_run_offers_the_nearest(folder: Path, run_folder: MakeRun) -> None:
    run_folder(folder.parent, name="digits-large", count=20, encoders=1)
    with pytest.raises(UserError, match="did you mean digits-large"):
        RecordedRun.read(folder.parent, "digit-large")


@pytest.mark.parametrize("name", ["trials.csv", "front.csv"])
def test_absent_table_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing.*--resume r"):
        RecordedRun.read(folder.parent, "r")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spec.json", "{"),
        ("spec.json", "[]"),
        ("spec.json", '{"evaluation": "digits"}'),
        ("spec.json", "[" * 100_000),
        ("summary.json", "3"),
        ("summary.json", '{"limits": [{"name": "max_size"}]}'),
        ("summary.json", '{"evaluations": "many"}'),
        ("summary.json", '{"seconds": Infinity}'),
        ("summary.json", '{"hypervolume_history": [[30]]}'),
        ("summary.json", '{"hypervolume_history": [30, 60]}'),
        ("summary.json", '{"hypervolume_history": [[30, "high"]]}'),
        ("summary.json", '{"reference_point": {"top1": []}}'),
        ("references.json", '[{"top1": 3}]'),
        ("references.json", '[{"name": "float32", "top1": "high"}]'),
        ("trials.csv", ""),
        ("trials.csv", "trial,digest\n1,abc\n"),
        ("front.csv", "\x00\x01"),
    ],
)
def test_damaged_file_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name} is damaged") as caught:
        RecordedRun.read(folder.parent, "r")
    assert "\n" not in str(caught.value)


def test_a_trial_in_several_rows_is_refused(folder: Path) -> None:
    front = folder / "front.csv"
    lines = front.read_text().splitlines()
    front.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(UserError, match=r"front\.csv is damaged \(a trial stands in several rows"):
        RecordedRun.read(folder.parent, "r")


def test_text_in_a_number_column_is_refused(folder: Path) -> None:
    front = folder / "front.csv"
    header, first, *rest = front.read_text().splitlines()
    fields = first.split(",")
    fields[header.split(",").index("size_bytes")] = "big"
    front.write_text("\n".join([header, ",".join(fields), *rest]))
    with pytest.raises(UserError, match="damaged"):
        RecordedRun.read(folder.parent, "r")


def test_space_round_trip(tmp_path: Path) -> None:
    layers = [
        EncoderLayers(0, "blocks.0", ("attn.qkv", "mlp.fc1")),
        EncoderLayers(1, "blocks.1", ("attn.qkv",)),
    ]
    space = SearchSpace("m", "fq-vit", layers, (3, 4, 8), "layer")
    write_space(tmp_path, space)
    again = read_space(tmp_path)
    assert again.gene_names == space.gene_names
    assert (again.model, again.scheme, again.widths) == (space.model, space.scheme, space.widths)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "m"}', '{"encoders": [3]}'])
def test_damaged_space_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "space.json").write_text(content)
    with pytest.raises(UserError, match=r"space\.json is damaged"):
        read_space(tmp_path)


def test_absent_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"space\.json is missing"):
        read_space(tmp_path)


def test_columns_come_from_the_space_and_a_run_without_one_is_read_all_the_same(folder: Path) -> None:
    genes = RecordedRun.read(folder.parent, "r").genes
    for name in ("front.csv", "trials.csv"):
        header, _, rows = (folder / name).read_text().partition("\n")
        (folder / name).write_text(f"{header},encoder99\n" + rows.replace("\n", ",8\n"))
    assert RecordedRun.read(folder.parent, "r").genes == genes, "a column of another kind is no gene"
    (folder / "space.json").unlink()
    assert RecordedRun.read(folder.parent, "r").genes[:-1] == genes


def test_a_column_that_the_space_has_and_the_table_lacks_is_named(folder: Path) -> None:
    front = folder / "front.csv"
    front.write_text(front.read_text().replace("encoder01.weights", "encoder01.w"))
    with pytest.raises(UserError, match=r"front\.csv is damaged .*no column 'encoder01\.weights'"):
        RecordedRun.read(folder.parent, "r")
