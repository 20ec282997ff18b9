"""The commands that read a run: what they print for a person and for a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitfront.search.cli.main import main
from bitfront.search.export.selection import chosen_row, shortlist_of, standing
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.session.run import open_run
from bitfront.spaces import BitConfig

MakeRun = Callable[..., Path]


@pytest.fixture
def bitfront(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the runs in ``tmp_path``: exit status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--runs-dir", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def folder(tmp_path: Path, run_folder: MakeRun) -> Path:
    return run_folder(tmp_path, name="small", count=40, encoders=2)


Bitfront = Callable[..., tuple[int, str, str]]


def document(result: tuple[int, str, str]) -> dict[str, Any]:
    status, out, err = result
    assert status == 0
    assert err == ""
    return dict(json.loads(out))


def test_runs_lists_and_hints(bitfront: Bitfront, folder: Path) -> None:
    status, out, err = bitfront("runs")
    assert status == 0
    assert "small" in out
    assert "bitfront front small" in err


def test_runs_without_runs(bitfront: Bitfront) -> None:
    status, out, err = bitfront("runs")
    assert status == 0
    assert "there are no runs" in out
    assert "bitfront search" in err


def test_runs_json(bitfront: Bitfront, folder: Path) -> None:
    [run] = document(bitfront("runs", "--json"))["runs"]
    assert run["name"] == "small"
    assert run["status"] == "finished"
    assert run["evaluations"] == run["budget"] == 40
    assert isinstance(run["smallest_bytes"], int)
    assert run["quantization"] == "fq-vit, recipe best without log-base"


def test_runs_names_the_damage(bitfront: Bitfront, folder: Path) -> None:
    (folder / "summary.json").write_text("{")
    status, out, _ = bitfront("runs")
    assert status == 0
    assert "summary.json is damaged" in out


def test_front_of_the_latest_run(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    status, out, err = bitfront("front")
    assert status == 0
    assert out.startswith("small: digits_deit (fq-vit, recipe best without log-base) on digits")
    assert "float32" in out
    assert "bitfront export small --pick knee" in err
    assert str(chosen_row(RecordedRun.read(tmp_path, "small"), "knee")["trial"]) in out


def test_runs_from_before_recipes_name_the_scheme_alone(
    bitfront: Bitfront, run_folder: MakeRun, tmp_path: Path
) -> None:
    run_folder(tmp_path, name="old", count=40, encoders=2, recorded=False)
    assert bitfront("front")[1].startswith("old: digits_deit (fq-vit) on digits")
    assert "digits_deit, digits (fq-vit)" in bitfront("runs")[1]
    assert document(bitfront("front", "--json"))["recipe"] is None
    assert bitfront("export")[0] == 0


def test_front_json(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    front = document(bitfront("front", "small", "--json"))
    run = RecordedRun.read(tmp_path, "small")
    assert front["run"] == "small"
    assert (front["scheme"], front["recipe"], front["without"]) == ("fq-vit", "best", ["log-base"])
    assert front["knee"] == chosen_row(run, "knee")["trial"]
    assert [mark["name"] for mark in front["references"]] == ["float32", "W8A8T8", "W4A4T4"]
    assert front["references"][1]["test_top1"] is None
    assert len(front["front"]) == len(run.front)
    point = front["front"][0]
    assert set(point) >= {
        "trial",
        "digest",
        "top1",
        "latency_ms",
        "size_bytes",
        "test_top1",
        "mean_bits",
        "bits",
    }
    assert list(point["bits"]) == [gene.name for gene in run.genes]
    assert isinstance(point["size_bytes"], int)
    compared = point["against_float"]
    assert set(compared) == {
        "images", "lost", "won", "top1_difference", "top1_difference_standard_error", "mcnemar_p",
    }  # fmt: skip
    assert compared["top1_difference"] == pytest.approx(100 * (compared["won"] - compared["lost"]) / 899)
    assert point["test_against_float"]["images"] == 450
    assert front["references"][0]["against_float"] is None
    assert front["references"][1]["test_against_float"] is None
    assert front["failures"] == [{"error": "blocks.0.mlp.fc1 saturates", "trials": [36]}]


def test_front_json_has_the_limits(bitfront: Bitfront, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    drop = {"name": "max_drop", "column": "top1", "side": "at least", "bound": 97.9, "text": "--max-drop 1"}
    (folder / "summary.json").write_text(json.dumps({**summary, "limits": [*summary["limits"], drop]}))
    size, least = document(bitfront("front", "--json"))["limits"]
    assert size == {
        "name": "max_size", "asked": "--max-size 0.95x", "column": "size_bytes", "side": "at most",
        "bound": 1_250_000.0, "unit": "bytes", "met": True,
    }  # fmt: skip
    assert (least["asked"], least["bound"], least["met"]) == ("--max-drop 1", 97.9, None)
    trials = (folder / "trials.csv").read_text().splitlines()
    place = trials[0].split(",").index("violation.max_size")
    rows = [",".join("0.5" if i == place else c for i, c in enumerate(row.split(","))) for row in trials[1:]]
    (folder / "trials.csv").write_text("\n".join([trials[0], *rows]) + "\n")
    assert document(bitfront("front", "--json"))["limits"][0]["met"] is False


def test_front_prints_the_shortlist_and_how_many_stand_behind(
    bitfront: Bitfront, folder: Path, tmp_path: Path
) -> None:
    run = RecordedRun.read(tmp_path, "small")
    listed = shortlist_of(run)
    rows = {
        line.lstrip(" \N{BLACK STAR}").split()[0]: line
        for line in bitfront("front")[1].splitlines()
        if line.strip(" \N{BLACK STAR}")
    }
    assert {int(name) for name in rows if name.isdecimal()} >= set(listed)
    assert not {str(trial) for trial in run.front["trial"] if trial not in listed} & set(rows)
    assert len(listed) < len(run.front)
    out = bitfront("front")[1]
    for point in listed.values():
        assert not point.alike or f"{len(point.alike)} alike" in out
    assert f"{len(listed)} of {len(run.front)} points stand for the others" in out
    assert "all of them: bitfront front small --all" in out
    every = bitfront("front", "--all")[1]
    assert all(f"\n{trial:>7} " in every or f" {trial} " in every for trial in run.front["trial"])
    assert "--all" not in every


def test_front_json_says_which_points_are_listed(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    found, listed = document(bitfront("front", "--json")), shortlist_of(RecordedRun.read(tmp_path, "small"))
    assert sorted(found["shortlist"]) == sorted(listed)
    representatives = standing(listed)
    for point in found["front"]:
        assert point["listed"] == (point["trial"] in listed)
        assert point["stands_for"] == representatives[point["trial"]]
        assert "% of the size" in point["in_words"] or "of the size" in point["in_words"]
    assert found["knee_reason"].startswith(f"trial {found['knee']}, ")


def test_one_line_says_why_the_star_is_where_it_is(bitfront: Bitfront, folder: Path) -> None:
    out = bitfront("front")[1]
    assert re.search(
        r"★ trial \d+, (the cheapest point not shown to be more than 0.5 points worse than the best "
        r"\(trial \d+\): [+-]\d+\.\d+ ± \d+\.\d+ points|the best point: all cheaper ones are shown "
        r"to be more than 0.5 points worse)",
        out,
    )


def test_front_says_how_far_its_accuracies_can_be_trusted(
    bitfront: Bitfront, folder: Path, run_folder: MakeRun, tmp_path: Path
) -> None:
    _, out, _ = bitfront("front", "small")
    table = RecordedRun.read(tmp_path, "small").front
    errors = [(top1 * (100 - top1) / 899) ** 0.5 for top1 in table["top1"]]
    assert f"up to {max(errors):.2f} points on 899 search images, up to " in out
    assert "on 450 test images; vs float: paired" in out
    assert "points were chosen by their top-1 on the search split" in out
    assert "trial 36 failed: blocks.0.mlp.fc1 saturates" in out
    run_folder(tmp_path, name="old", count=40, encoders=2, paired=False)
    _, out, _ = bitfront("front", "old")
    assert "vs float" not in out
    assert "trial 36 failed: no reason was recorded" in out


def test_front_names_what_failed_on_the_test_split(bitfront: Bitfront, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "test_failures": {"7": "head: infinite"}}))
    assert "trial 7 failed on the test split: head: infinite" in bitfront("front")[1]
    assert document(bitfront("front", "--json"))["test_failures"] == {"7": "head: infinite"}


def test_front_names_what_timed_whole_models(bitfront: Bitfront, folder: Path) -> None:
    sentence = "measured: whole models, run in turn at the end of the search (measured:{})"
    assert sentence.format("torch") in bitfront("front")[1]
    summary = json.loads((folder / "summary.json").read_text())
    summary["latency_measured_source"] = "measured:openvino"
    (folder / "summary.json").write_text(json.dumps(summary))
    assert sentence.format("openvino") in bitfront("front")[1]
    assert document(bitfront("front", "--json"))["latency_measured_source"] == "measured:openvino"
    table = (folder / "front.csv").read_text().splitlines()
    place = table[0].split(",").index("latency_measured_ms")
    emptied = [",".join("" if i == place else c for i, c in enumerate(line.split(","))) for line in table[1:]]
    (folder / "front.csv").write_text("\n".join([table[0], *emptied]) + "\n")
    marks = json.loads((folder / "references.json").read_text())
    marks = [{**mark, "latency_measured_ms": None} for mark in marks]
    (folder / "references.json").write_text(json.dumps(marks))
    assert "measured: whole models" not in bitfront("front")[1]


def test_empty_front_says_why(bitfront: Bitfront, folder: Path) -> None:
    header = (folder / "front.csv").read_text().splitlines()[0]
    (folder / "front.csv").write_text(header + "\n")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(
        json.dumps({**summary, "message": "no configuration met the limits"})
    )
    status, out, _ = bitfront("front")
    assert status == 0
    assert "the front is empty: no configuration met the limits" in out
    assert document(bitfront("front", "--json"))["front"] == []
    status, _, err = bitfront("export")
    assert status == 2
    assert "the front is empty" in err


@pytest.mark.parametrize("command", ["front", "plot", "export"])
@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "..", "a/../b"])
def test_names_cannot_leave_the_runs_folder(bitfront: Bitfront, command: str, name: str) -> None:
    status, out, err = bitfront(command, name)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert "not a name for a run" in err
    assert err.count("\n") == 1


def test_unknown_run_is_one_line(bitfront: Bitfront, folder: Path) -> None:
    status, _, err = bitfront("front", "smal")
    assert status == 2
    assert "did you mean small?" in err


def test_plot_prints_the_paths(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    status, out, _ = bitfront("plot", "small", "--output", str(tmp_path / "pictures"))
    paths = [Path(line) for line in out.splitlines()]
    assert status == 0
    assert [path.name for path in paths][:2] == ["front.png", "front_size.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_plot_json(bitfront: Bitfront, folder: Path) -> None:
    written = document(bitfront("plot", "small", "--json"))
    assert written["plots"][0] == str(folder / "plots" / "front.png")


def test_plot_before_the_first_trial(bitfront: Bitfront, folder: Path) -> None:
    for name in ("front.csv", "trials.csv"):
        (folder / name).write_text((folder / name).read_text().splitlines()[0] + "\n")
    (folder / "summary.json").unlink()
    status, _, err = bitfront("plot")
    assert status == 2
    assert "no evaluated trials" in err


def test_export_prints_the_path(bitfront: Bitfront, folder: Path) -> None:
    status, out, err = bitfront("export", "--pick", "size")
    path = Path(out.strip())
    assert status == 0
    assert path.parent == folder / "exports"
    assert BitConfig.from_json(json.loads(path.read_text())).model == "digits_deit"
    assert f"bitfront evaluate --config {path}" in err


def test_export_hint_names_model_and_data(bitfront: Bitfront, folder: Path) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    spec["evaluation"] |= {
        "model": "deit_tiny_patch16_224",
        "checkpoint": "my weights.pth",
        "data": "x/labels.csv",
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    _, _, err = bitfront("export")
    assert "--model deit_tiny_patch16_224 --checkpoint 'my weights.pth' --data x/labels.csv" in err


def test_export_json(bitfront: Bitfront, folder: Path) -> None:
    exported = document(bitfront("export", "--json", "--pick", "top1"))
    assert exported["digest"] in exported["path"]
    assert exported["measured"]["top1"] > 50
    assert isinstance(exported["trial"], int)


def test_front_within_limits(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    rows = RecordedRun.read(tmp_path, "small").front
    size = int(rows["size_bytes"].median())
    status, out, err = bitfront("front", "--max-size", f"{size}b", "--sort", "latency")
    assert status == 0
    assert f"points within --max-size {size}b from 40 trials" in out
    assert f"bitfront export small --pick knee --max-size {size}b" in err
    found = document(bitfront("front", "--json", "--max-size", f"{size}b", "--sort", "latency"))
    kept = rows[rows["size_bytes"] <= size].sort_values("latency_ms")
    assert [point["trial"] for point in found["front"]] == kept["trial"].tolist()
    assert found["within"][0]["bound"] == size


def test_an_empty_front_within_limits_is_one_line(bitfront: Bitfront, folder: Path) -> None:
    for options in ([], ["--json"]):
        status, out, err = bitfront("front", "--max-size", "1kB", *options)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "no point of run small is within --max-size 1kB: the nearest is trial " in err


def test_export_within_limits(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    rows = RecordedRun.read(tmp_path, "small").front
    size = int(rows["size_bytes"].median())
    exported = document(bitfront("export", "--json", "--pick", "top1", "--max-size", f"{size}b"))
    best = rows[rows["size_bytes"] <= size]["top1"].max()
    assert exported["measured"]["top1"] == best
    assert (exported["pick"], exported["within"]) == ("top1", [f"--max-size {size}b"])
    _, out, err = bitfront("export", "--pick", "top1", "--max-size", f"{size}b")
    assert out.count("\n") == 1
    assert f"top1 within --max-size {size}b: trial {exported['trial']}" in err


def test_export_by_weights(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    exported = document(bitfront("export", "--json", "--pick", "top1=2,size=1"))
    run = open_run("small", runs_dir=tmp_path)
    assert exported["trial"] == run.pick({"top1": 2, "size": 1})["trial"]
    assert Path(exported["path"]).name == f"weights-{exported['digest']}.json"
    assert run.export(pick={"top1": 2, "size": 1}).trial == exported["trial"]
    assert document(bitfront("export", "--json", "--pick", "star"))["trial"] == run.knee


def test_export_of_uniform_widths(bitfront: Bitfront, folder: Path) -> None:
    exported = document(bitfront("export", "--json", "--uniform", "w4a8t8"))
    assert (exported["trial"], exported["measured"]) == (None, {})
    assert Path(exported["path"]).name == f"W4A8T8-{exported['digest']}.json"
    config = BitConfig.from_json(json.loads(Path(exported["path"]).read_text()))
    assert {(e.weights, e.activations, e.attention) for e in config.encoders} == {(4, 8, 8)}


def test_export_keeps_other_files(bitfront: Bitfront, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "config.json"
    output.write_text("mine")
    status, _, err = bitfront("export", "--output", str(output))
    assert status == 2
    assert "--force" in err
    assert output.read_text() == "mine"
    assert bitfront("export", "--output", str(output), "--force")[0] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format", "openvino"], "scheme fq-vit runs in onnxruntime alone"),
        (["--format", "packed", "--output", "m.json"], "--output m.json needs the ending .safetensors"),
        (["--uniform", "W3A8T8"], "run small has the widths 4, 8, not 3"),
        (["--pick", "best"], "--pick 'best' is no choice"),
        (["--pick", "99999"], "trial 99999 is not on the front"),
        (["--pick", "top1=2,speed=1"], "'speed' is none of top1, latency, size, loss"),
        (["--pick", "nearest"], "--pick nearest needs a limit"),
        (["--pick", "top1", "--max-size", "1kB"], "no point of run small is within --max-size 1kB"),
        (["--uniform", "W4A8T8", "--max-size", "1MB"], "--uniform is none of them"),
    ],
)
def test_export_mistakes(bitfront: Bitfront, folder: Path, options: list[str], expected: str) -> None:
    status, out, err = bitfront("export", *options)
    assert status == 2
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1
