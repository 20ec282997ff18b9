"""The run store: names, locks, whole files, and what happens where nothing can be written."""

import errno
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from bitfront.evaluators.context.machine import describe_environment
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunFolder, RunStore, read_space, write_space
from bitfront.spaces import BitfrontError, EncoderLayers, SearchSpace, UserError


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-rf", "a b", "x" * 101, "a\n", "ü"])
def test_names_stay_inside_of_the_runs_folder(store, name):
    for method in (store.create, store.open):
        with pytest.raises(UserError, match="is not a name for a run"):
            method(name)
    assert not store.root.exists()


def test_an_existing_name_is_refused_with_both_ways_on(store):
    store.create("one")
    with pytest.raises(UserError, match=r"'one' exists already .* --resume one, or choose another --run"):
        store.create("one")


def test_default_names_are_free_and_plain(store):
    first = store.default_name("hf-hub:org/model")
    store.create(first)
    second = store.default_name("hf-hub:org/model")
    store.create(second)
    assert first != second
    assert first.startswith("hf-hub_org_model-2")


def test_only_runs_with_a_spec_are_opened(store):
    folder = store.create("one")
    with pytest.raises(UserError, match="there is no run 'one'"):
        store.open("one")
    folder.write_spec(RunSpec(seed=4))
    assert store.open("one").read_spec() == RunSpec(seed=4)


def test_a_moved_run_finds_the_inputs_in_its_folder(store, tmp_path):
    folder = store.create("one")
    inputs, elsewhere = folder.path.absolute() / "inputs", str(tmp_path / "labels.csv")
    for data, there in ((str(inputs / "images" / "labels.csv"), "images/labels.csv"), (elsewhere, None)):
        evaluation = EvaluationSpec(
            model="digits_deit", scheme="fq-vit", checkpoint=str(inputs / "model.safetensors"), data=data
        )
        folder.write_spec(RunSpec(evaluation))
        assert folder.read_spec() == RunSpec(evaluation)
        moved = RunFolder(tmp_path / "moved")
        folder.path.rename(moved.path)
        found = moved.read_spec().evaluation
        assert found.checkpoint == str(moved.path.absolute() / "inputs" / "model.safetensors")
        assert found.data == (elsewhere if there is None else str(moved.path.absolute() / "inputs" / there))
        moved.path.rename(folder.path)
    # Runs of earlier versions have absolute paths.
    folder.write_json("spec.json", RunSpec(evaluation).to_json())
    assert folder.read_spec() == RunSpec(evaluation)


def test_damaged_and_missing_files_are_named(folder):
    with pytest.raises(UserError, match=r"summary\.json is missing"):
        folder.read_json("summary.json")
    (folder.path / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary\.json is damaged"):
        folder.read_json("summary.json")


def test_a_failed_write_leaves_the_old_file_and_no_parts(folder, monkeypatch):
    path = folder.write_text("front.csv", "old\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BitfrontError, match="no space left on device; free some space"):
        folder.write_text("front.csv", "new\n")
    assert path.read_text() == "old\n"
    assert [p.name for p in folder.path.iterdir()] == ["front.csv"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_an_unwritable_folder_is_the_users_to_mend(tmp_path, monkeypatch, number):
    def forbidden(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(UserError, match=r"cannot write .*; make the folder writable, or choose another"):
        RunStore(tmp_path / "runs").create("one")


def test_a_file_in_place_of_the_runs_folder_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(BitfrontError, match="cannot write") as error:
        RunStore(tmp_path / "runs").create("one")
    assert "\n" not in str(error.value)


def test_the_log_is_kept_within_the_block(folder):
    library = logging.getLogger("bitfront.search.somewhere")
    with folder.log_file():
        library.info("kept")
    library.info("not kept")
    with folder.log_file():
        library.warning("kept too")
    lines = (folder.path / "log.txt").read_text().splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["kept", "kept too"]


def test_the_environment_is_json_with_versions():
    described = json.loads(json.dumps(describe_environment()))
    assert described["packages"]["optuna"].startswith("5")
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))
    assert described["memory_bytes"] > 0


def test_kept_genes_are_part_of_the_space(folder):
    encoders = [EncoderLayers(i, f"blocks.{i}", ("attn.qkv",)) for i in range(2)]
    whole = SearchSpace("m", "deploy", encoders, (4, 8), fixed=[("attention", 8)])
    written = json.loads(write_space(folder.path, whole).read_text())
    assert "kept" not in written, "spaces of earlier versions have none"
    write_space(folder.path, whole.keeping({"encoder01.weights": 8}))
    found = read_space(folder.path)
    assert (found.kept, found.fixed) == ({"encoder01.weights": 8}, {"attention": 8})
    assert found.gene_names == ("encoder00.weights", "encoder00.activations", "encoder01.activations")
    (folder.path / "space.json").write_text(json.dumps({**written, "kept": {"encoder07.weights": 8}}))
    with pytest.raises(UserError, match=r"no such gene"):
        read_space(folder.path)
