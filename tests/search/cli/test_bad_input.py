"""Bad input at the command line: one line each, exit status 2, and nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore

TINY = "vit_tiny_patch16_224"


@pytest.fixture
def search(bitfront: Callable, tmp_path: Path) -> Callable:
    def run(*arguments: object):
        outcome = bitfront(
            "search",
            "--model",
            "digits_deit",
            "--runs-dir",
            tmp_path / "runs",
            "--latency",
            "model:bops",
            *arguments,
        )
        left = sorted(path.name for path in (tmp_path / "runs").glob("*"))
        return outcome, left

    return run


def refused(result: tuple, *parts: str) -> None:
    outcome, left = result
    assert outcome.status == 2, outcome.err
    for part in parts:
        assert part in outcome.error
    assert left == []


def save_checkpoint(path: Path, **options: object) -> Path:
    ensure_torchvision()
    import timm

    torch.save(timm.create_model(TINY, **options).state_dict(), path)
    return path


def images(folder: Path, classes: int, each: int) -> Path:
    for label in range(classes):
        target = folder / f"class{label:02d}"
        target.mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (32, 32), (label * 20, number * 7 % 256, 90)).save(target / f"{number}.png")
    return folder


def test_unknown_model_offers_near_names(search) -> None:
    refused(search("--model", "deit_tinny_patch16_224"), "deit_tinny", "deit_tiny_patch16_224")


def test_cnn(search) -> None:
    refused(
        search("--model", "resnet18", "--pretrained"),
        "resnet18 cannot be quantized: it is a ResNet",
        "give a timm ViT, DeiT",
    )


def test_checkpoint_of_another_shape(search, tmp_path: Path) -> None:
    ensure_torchvision()
    import timm

    state = timm.create_model("vit_small_patch16_224").state_dict()
    torch.save(state, tmp_path / "small.pth")
    refused(search("--model", TINY, "--checkpoint", tmp_path / "small.pth"), "small.pth", "192", "384")


def test_pickle_with_code_is_not_run(search, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {marker}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Malicious()}))
    refused(search("--model", TINY, "--checkpoint", tmp_path / "evil.pth"), "evil.pth", "code")
    assert not marker.exists()


def test_model_without_weights(search) -> None:
    refused(search("--model", TINY), "--checkpoint", "--pretrained")


def test_missing_data_folder(search, tmp_path: Path) -> None:
    refused(search("--data", tmp_path / "nowhere"), "nowhere")


def test_empty_data_folder(search, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(search("--data", tmp_path / "empty"), "empty")


def test_labels_outside_of_the_models_classes(search, tmp_path: Path) -> None:
    refused(search("--data", images(tmp_path / "many", 12, 20)), "label 10", "0 to 9")


def test_too_few_images(search, tmp_path: Path) -> None:
    refused(search("--data", images(tmp_path / "few", 10, 3)), "too few images", "128")


@pytest.mark.parametrize("bits", ["3,x", "4,16", "", "8"])
def test_bits(search, bits: str) -> None:
    refused(search("--bits", bits), "--bits")


@pytest.mark.parametrize(
    ("limits", "parts"),
    [
        (("--max-size", "1kB"), ("--max-size 1kB", "nearest achievable")),
        (("--max-latency", "0.0001x"), ("--max-latency 0.0001x", "nearest achievable")),
        (("--max-size", "four"), ("--max-size", "4MB")),
        (("--min-top1", "101"), ("--min-top1", "100")),
    ],
)
def test_limits_out_of_reach(search, limits: tuple[str, str], parts: tuple[str, ...]) -> None:
    refused(search(*limits), *parts)


def test_existing_run_name(bitfront, tmp_path: Path) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "keep.txt").write_text("precious")
    outcome = bitfront("search", "--runs-dir", tmp_path / "runs", "--run", "taken")
    assert outcome.status == 2
    assert "taken" in outcome.error
    assert "--resume taken" in outcome.error
    assert (tmp_path / "runs" / "taken" / "keep.txt").read_text() == "precious"


def test_run_name_stays_in_the_runs_folder(search) -> None:
    refused(search("--run", "../escape"), "../escape")


def test_resume_of_an_unknown_run(bitfront, tmp_path: Path) -> None:
    outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "nothing")
    assert outcome.status == 2
    assert "nothing" in outcome.error


def test_resume_takes_no_other_settings(bitfront, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "spec.json").write_text("{}")
    outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "old", "--bits", "4,8")
    assert outcome.status == 2
    assert "--bits cannot be given with --resume" in outcome.error


def test_unwritable_runs_folder(bitfront, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = bitfront("search", "--runs-dir", tmp_path / "file", "--latency", "model:bops")
    assert outcome.status == 2
    assert "file" in outcome.error


def test_corrupt_image_is_named_and_counted(bitfront, tmp_path: Path) -> None:
    folder = images(tmp_path / "data", 10, 8)
    (folder / "class03" / "0.png").write_bytes(b"\x89PNG broken")
    outcome = bitfront(
        "evaluate", "--data", folder, "--calibration-images", "20", "--search-images", "1",
        "--latency", "model:bops", "--allow-chance", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "class03" in outcome.err + outcome.out


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read as a bit config"),
        ("[]", "no JSON object"),
        ('{"format": "other"}', "bitfront/bit-config"),
        ('{"format": "bitfront/bit-config", "version": 9}', "version 9"),
    ],
)
def test_bit_configs_that_are_none(bitfront, tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / "config.json").write_text(content)
    outcome = bitfront("evaluate", "--config", tmp_path / "config.json")
    assert outcome.status == 2
    assert part in outcome.error


@pytest.mark.parametrize("source", ["fast", "model:none", "table:", "measured:gpu"])
def test_unknown_latency_source(search, source: str) -> None:
    outcome, left = search("--latency", source)
    assert outcome.status == 2
    assert source in outcome.error
    assert left == []


HEADER = "part,shape,weights,activations,attention,milliseconds,batch,scheme,machine"
ROWS = ["encoder,197x192h3m768,8,8,8,1,{}", "rest,,,,,1,{}", "float_model,,,,,99,{}"]


def latency_table(folder: Path, end: str) -> str:
    (folder / "phone.csv").write_text("\n".join([HEADER, *(row.format(end) for row in ROWS)]))
    return f"table:{folder / 'phone.csv'}"


def test_latency_table_of_another_model(search, tmp_path: Path) -> None:
    refused(
        search("--latency", latency_table(tmp_path, "1,,")), "no entry for encoder shape", "latency-table"
    )


@pytest.mark.parametrize("command", ["search", "evaluate"])
@pytest.mark.parametrize(
    ("end", "options", "parts"),
    [
        ("8,,", ("--latency-batch", "1"), ("--latency-batch 1: table:", "phone.csv is for batches of 8")),
        (
            "1,deploy,",
            ("--scheme", "fq-vit"),
            ("phone.csv (unnamed) is for scheme deploy, not fq-vit: give --scheme deploy",),
        ),
    ],
)
def test_latency_table_for_something_else(
    bitfront, tmp_path: Path, command: str, end: str, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    where = ("--runs-dir", tmp_path / "runs") if command == "search" else ()
    outcome = bitfront(
        command, "--model", "digits_deit", *where, "--latency", latency_table(tmp_path, end), *options
    )
    assert outcome.status == 2
    for part in parts:
        assert part in outcome.error
    assert outcome.err.count("\n") == 1, "nothing was prepared"


@pytest.mark.parametrize("command", ["search", "evaluate", "latency-table"])
def test_runtimes_that_cannot_run_the_scheme(bitfront, tmp_path: Path, command: str) -> None:
    where = ("--runs-dir", tmp_path / "runs") if command == "search" else ()
    outcome = bitfront(command, *where, "--scheme", "fq-vit", "--latency", "measured:openvino")
    assert outcome.status == 2
    assert "measured:openvino runs scheme deploy only, not fq-vit" in outcome.error
    assert outcome.err.count("\n") == 1


def test_a_run_that_another_process_prepares_is_left_alone(bitfront, tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("busy")
    folder.write_spec(RunSpec())
    with folder.lock():
        outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "busy")
    assert outcome.status == 2
    assert "is being written by process" in outcome.error
    assert (tmp_path / "busy" / "spec.json").exists()


def test_a_database_study_is_asked_for_again(bitfront, tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("kept")
    folder.write_spec(RunSpec())
    folder.write_json("storage.json", {"url": "postgresql://me:***@host/x"})
    outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "kept")
    assert outcome.status == 2
    assert "postgresql://me:***@host/x: give it again with --storage" in outcome.error


def test_a_run_keeps_its_images(bitfront, tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("old")
    small = EvaluationSpec(model="digits_deit", scheme="fq-vit")
    folder.write_spec(RunSpec(small, latency="model:bops"))
    folder.write_json("splits.json", {"calibration": [1], "search": [2], "test": [3]})
    folder.write_json("space.json", {})
    outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "old")
    assert outcome.status == 2
    assert "are not those that run old began with" in outcome.error
    assert folder.read_json("splits.json")["test"] == [3]


def test_a_resumed_run_that_fails_before_its_space_is_written_is_kept(bitfront, tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("early")
    small = EvaluationSpec(model="digits_deit", scheme="fq-vit")
    folder.write_spec(RunSpec(small, latency=f"table:{tmp_path / 'gone.csv'}"))
    folder.write_text("study.log", "")
    outcome = bitfront("search", "--runs-dir", tmp_path, "--resume", "early")
    assert outcome.status == 2
    assert "gone.csv" in outcome.error
    assert {path.name for path in folder.path.iterdir()} >= {"spec.json", "study.log"}


def test_unknown_device(search) -> None:
    refused(search("--device", "gpu"), "--device 'gpu' is unknown", "cpu, cuda or cuda:N")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_where_there_is_none(search) -> None:
    refused(search("--device", "cuda"), "--device cuda", "--device cpu")


def test_unknown_scheme_of_a_config(bitfront, tmp_path: Path) -> None:
    document = {"format": "bitfront/bit-config", "version": 1, "model": "digits_deit", "scheme": "w8"}
    encoders = [{"index": 0, "name": "blocks.0", "weights": 8, "activations": 8, "attention": 8}]
    (tmp_path / "config.json").write_text(json.dumps({**document, "encoders": encoders}))
    outcome = bitfront("evaluate", "--config", tmp_path / "config.json")
    assert outcome.status == 2
    assert "scheme 'w8' is unknown: expected fq-vit or deploy" in outcome.error


def test_population_of_one(search) -> None:
    refused(search("--population", "1"), "--population 1", "at least 2")


@pytest.mark.parametrize("provenance", [[1], {"evaluation": {"threads": "2"}}, {"evaluation": []}])
def test_provenance_that_is_damaged(bitfront, tmp_path: Path, provenance: object) -> None:
    encoders = [{"index": 0, "name": "blocks.0", "weights": 8, "activations": 8, "attention": 8}]
    document = {
        "format": "bitfront/bit-config", "version": 1, "model": "digits_deit", "scheme": "fq-vit",
        "encoders": encoders, "provenance": provenance,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(document))
    outcome = bitfront("evaluate", "--config", tmp_path / "config.json", "--latency", "model:bops")
    assert outcome.status == 2
    assert "internal error" not in outcome.error
