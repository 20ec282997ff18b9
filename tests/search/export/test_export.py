"""An exported bit config is the front point it was picked from, and files are put in place as a whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from refined_cases import write_refined_point

from bitfront.search.export.export import (
    chosen_point,
    chosen_uniform,
    place_files,
    refined_point,
    write_config,
)
from bitfront.search.export.places import with_folders, without_folders
from bitfront.search.export.selection import pick
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import BitConfig, BitfrontError, Granularity, UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, run_folder: MakeRun) -> RecordedRun:
    run_folder(tmp_path, name="r", count=60, encoders=3)
    return RecordedRun.read(tmp_path, "r")


@pytest.mark.parametrize("granularity", ["encoder", "encoder-kind", "layer"])
def test_config_is_the_picked_row(tmp_path: Path, run_folder: MakeRun, granularity: Granularity) -> None:
    run_folder(tmp_path, name="g", granularity=granularity, count=60, encoders=3)
    run = RecordedRun.read(tmp_path, "g")
    for choice in ("knee", "top1", "latency", "size"):
        row = pick(run.front, choice)
        chosen = chosen_point(run, choice)
        config = BitConfig.from_json(json.loads(json.dumps(chosen.document())))
        assert config == chosen.config
        assert config.digest == row["digest"]
        assert config.model == "digits_deit"


def test_document_says_what_was_measured_and_where_from(run: RecordedRun) -> None:
    trial = int(run.front["trial"].iloc[0])
    chosen = chosen_point(run, str(trial))
    document, row = chosen.document(), run.front.iloc[0]
    assert chosen.name == f"trial{trial}-{row['digest']}"
    assert document["format"] == "bitfront/bit-config"
    assert document["version"] == 1
    assert document["measured"]["size_bytes"] == row["size_bytes"]
    assert document["measured"]["latency_source"] == "measured:torch"
    assert document["provenance"]["run"] == "r"
    assert document["provenance"]["trial"] == trial
    assert document["provenance"]["seed"] == 0
    assert document["provenance"]["recipe"] == document["provenance"]["evaluation"]["recipe"] == "best"
    assert document["provenance"]["without"] == ["log-base"]
    assert document["provenance"]["evaluation"]["data"] == "digits"
    assert document["provenance"]["bitfront"]


def test_missing_measurements_are_null(run: RecordedRun) -> None:
    front = run.front.assign(test_top1=float("nan"), latency_measured_ms=float("nan"))
    bare = dataclasses.replace(run, front=front)
    document = chosen_point(bare, "knee").document()
    assert document["measured"]["test_top1"] is None
    assert json.dumps(document, allow_nan=False)


def test_what_is_done_to_images_is_in_the_provenance(run: RecordedRun) -> None:
    chosen = chosen_point(run, "knee")
    assert "preprocessing" not in chosen.document()["provenance"]
    document = chosen.document({"preprocessing": {"mean": [0.5]}})
    assert document["provenance"]["preprocessing"] == {"mean": [0.5]}
    assert document["provenance"]["trial"] == chosen.provenance["trial"]


def test_uniform_configurations_need_no_point_of_the_front(run: RecordedRun) -> None:
    chosen = chosen_uniform(run, "w8A4t8")
    assert chosen.name == f"W8A4T8-{chosen.config.digest}"
    assert {(e.weights, e.activations, e.attention) for e in chosen.config.encoders} == {(8, 4, 8)}
    assert len(chosen.config.encoders) == 3
    document = chosen.document()
    assert document["measured"] == {}
    assert document["provenance"]["run"] == "r"
    assert "trial" not in document["provenance"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W8A8", "is not a uniform"),
        ("W8A8T9", "T9 is no format of attention: use 2 to 8 bits"),
        ("W8A8T5", "the widths 4, 8, not 5"),
    ],
)
def test_uniform_configurations_that_were_not_prepared(run: RecordedRun, text: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        chosen_uniform(run, text)


def test_same_content_may_be_written_again_and_other_content_only_by_force(
    run: RecordedRun, tmp_path: Path
) -> None:
    output = tmp_path / "config.json"
    first, second = chosen_point(run, "top1").document(), chosen_point(run, "size").document()
    write_config(first, output)
    before = output.read_text()
    assert json.loads(before) == first
    write_config(first, output)
    assert output.read_text() == before
    with pytest.raises(UserError, match="--force"):
        write_config(second, output)
    assert output.read_text() == before
    write_config(second, output, force=True)
    assert json.loads(output.read_text()) == second


def test_tampered_genes_are_noticed(run: RecordedRun, tmp_path: Path) -> None:
    front = pd.read_csv(run.path / "front.csv", dtype={"digest": str})
    front["encoder00.weights"] = 12 - front["encoder00.weights"]
    front.to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match="file was changed"):
        chosen_point(RecordedRun.read(tmp_path, "r"), "knee")
    front["encoder00.weights"] = 5
    front.to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match="gene of 5 bits"):
        chosen_point(RecordedRun.read(tmp_path, "r"), "knee")
    front.drop(columns="encoder00.weights").to_csv(run.path / "front.csv", index=False)
    with pytest.raises(UserError, match=r"no column 'encoder00.weights'"):
        chosen_point(RecordedRun.read(tmp_path, "r"), "knee")


def test_unwritable_output_is_one_line(run: RecordedRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BitfrontError, match="cannot write") as caught:
        write_config({}, tmp_path / "file" / "config.json")
    assert "\n" not in str(caught.value)


class TestPlaces:
    """Files are made in a scratch folder and moved to where they shall be."""

    @pytest.fixture
    def written(self, tmp_path: Path) -> list[Path]:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        for name in ("m.xml", "m.bin"):
            (scratch / name).write_text(name)
        return [scratch / "m.xml", scratch / "m.bin"]

    def test_they_keep_their_endings(self, written: list[Path], tmp_path: Path) -> None:
        placed = place_files(written, tmp_path / "other.v2.xml")
        assert placed == [tmp_path / "other.v2.xml", tmp_path / "other.v2.bin"]
        assert [path.read_text() for path in placed] == ["m.xml", "m.bin"]
        assert not any(path.exists() for path in written)

    @pytest.mark.parametrize("taken", ["m.xml", "m.bin"])
    def test_none_is_moved_where_one_is_taken(self, written: list[Path], tmp_path: Path, taken: str) -> None:
        (tmp_path / taken).write_text("precious")
        with pytest.raises(UserError, match=f"{taken} exists and holds something else"):
            place_files(written, tmp_path / "m.xml")
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [taken]
        assert (tmp_path / taken).read_text() == "precious"
        place_files(written, tmp_path / "m.xml", force=True)
        assert (tmp_path / taken).read_text() == taken

    def test_equal_files_may_be_there(self, written: list[Path], tmp_path: Path) -> None:
        (tmp_path / "m.bin").write_text("m.bin")
        assert len(place_files(written, tmp_path / "m.xml")) == 2

    def test_a_folder_in_the_way(self, written: list[Path], tmp_path: Path) -> None:
        (tmp_path / "m.bin").mkdir()
        for force in (False, True):
            with pytest.raises(UserError, match=r"m\.bin"):
                place_files(written, tmp_path / "m.xml", force)
        assert not (tmp_path / "m.xml").exists()


class TestRefined:
    def test_a_refined_point_is_that_point_with_what_was_learned(self, run: RecordedRun) -> None:
        trial = int(run.front["trial"].iloc[0])
        write_refined_point(run.path.parent, "r", trial, gain=3.0)
        run = RecordedRun.read(run.path.parent, "r")
        plain, (chosen, file) = chosen_point(run, trial), refined_point(run, trial)
        assert chosen.config == plain.config
        assert chosen.name == f"trial{trial}-refined-{plain.config.digest}"
        assert file == run.path / "refined" / f"{plain.config.digest}.safetensors"
        document = chosen.document()
        assert document["provenance"]["evaluation"]["refinement"] == str(file)
        assert document["measured"]["top1"] == pytest.approx(plain.measured["top1"] + 3.0)
        assert document["measured"]["size_bytes"] == plain.measured["size_bytes"]
        assert document["measured"].keys() == plain.measured.keys()
        # What is shipped names no folder; beside its run it is found again.
        short = without_folders(document)
        assert short["provenance"]["evaluation"]["refinement"] == f".../{file.name}"
        place = run.path / "exports" / "model.xml"
        assert with_folders(short, place)["provenance"]["evaluation"]["refinement"] == str(file)
        elsewhere = with_folders(short, run.path.parent / "other" / "a" / "b" / "model.xml")
        assert elsewhere["provenance"]["evaluation"]["refinement"] == f".../{file.name}"

    def test_others_are_refused_with_what_to_do(self, run: RecordedRun) -> None:
        trial = int(run.front["trial"].iloc[0])
        command = f"bitfront refine r --pick {trial} --runs-dir {run.path.parent}"
        with pytest.raises(UserError, match=f"trial {trial} is not refined: refine it with `{command}`"):
            refined_point(run, trial)
        write_refined_point(run.path.parent, "r", trial)
        run = RecordedRun.read(run.path.parent, "r")
        (run.path / "refined" / f"{run.front['digest'].iloc[0]}.safetensors").unlink()
        with pytest.raises(UserError, match=f"is missing: restore it, or refine trial {trial} again"):
            refined_point(run, trial)
