"""Commands that are printed as what comes next: each can be run as it stands."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitfront.evaluators.training.digits import TrainingResult
from bitfront.search.cli.commands import train
from bitfront.search.cli.main import main
from bitfront.search.cli.parser import parse
from bitfront.search.reports import comparison as comparison_report
from bitfront.search.reports import evaluation as evaluation_report
from bitfront.search.reports import model_tables
from bitfront.search.reports import profile as profile_report
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.listing import latest_run, unknown_run
from bitfront.search.runs.names import run_command
from bitfront.search.runs.storage import note_storage, resume_command
from bitfront.search.session import compare, compare_samplers, evaluate, profile
from bitfront.search.session import search as session
from bitfront.search.session.run import open_run
from bitfront.spaces import BitfrontError, UserError

OWN = ("--model", "deit_tiny_patch16_224", "--checkpoint", "my weights.pth", "--data", "x y/labels.csv")
# Signs that names of folders may have.
NAMED = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
SIZES = ("--search-images", "64", "--batch-size", "auto", "--without", "log-base", "--metrics=macro_f1,kl")


@pytest.fixture
def root(tmp_path: Path, run_folder: Callable[..., Path]) -> Path:
    """A folder of runs that a shell must have quoted, with a finished run."""
    folder = tmp_path / "my runs; $HOME"
    folder.mkdir()
    run_folder(folder, name="small", count=40, encoders=2)
    return folder


@pytest.fixture
def hints(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Namespace]]:
    """Runs a command; gives the commands that it prints, as the parser reads what a shell makes of them."""

    def run(*words: object, status: int = 0) -> list[Namespace]:
        assert main([str(word) for word in words]) == status
        captured = capsys.readouterr()
        return commands(captured.err + captured.out)

    return run


def commands(text: str) -> list[Namespace]:
    quoted = re.findall(r"`(bitfront .*?)`", text)
    plain = [line.removeprefix("next: ").strip() for line in text.splitlines()]
    plain = [line.removeprefix("all of them: ") for line in plain]
    lines = [*quoted, *(line for line in plain if line.startswith("bitfront "))]
    return [parse(shlex.split(line)[1:]) for line in lines]


def test_commands_on_runs_name_their_folder(root: Path, hints: Callable[..., list[Namespace]]) -> None:
    for words, expected in (
        (("runs",), ["front"]),
        (("front",), ["front", "plot", "export"]),
        (("plot",), ["export"]),
    ):
        found = [args for args in hints(*words, "--runs-dir", root) if args.command != "front" or args.run]
        assert {args.command for args in found} <= set(expected)
        assert found
        named = [args.runs if args.command == "plot" else [args.run] for args in found]
        assert all(names == ["small"] for names in named)
        assert {args.runs_dir for args in found} == {root}


def test_printed_commands_run(root: Path, hints: Callable[..., list[Namespace]], capsys: Any) -> None:
    assert main(["runs", "--runs-dir", str(root)]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    assert main(shlex.split(line.removeprefix("next: "))[1:]) == 0
    err = capsys.readouterr().err.replace("next: ", "")
    for further in filter(None, map(str.strip, err.splitlines())):
        assert main(shlex.split(further)[1:]) == 0, further
        capsys.readouterr()


def test_the_usual_folder_is_not_named(
    root: Path, hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITFRONT_RUNS", str(root))
    assert all("runs_dir" not in args.given for args in hints("front"))
    monkeypatch.delenv("BITFRONT_RUNS")
    root.rename(root.parent / "runs")
    monkeypatch.chdir(root.parent)
    assert all("runs_dir" not in args.given for args in hints("front", "--runs-dir", root.parent / "runs"))


def test_no_runs_at_all(tmp_path: Path, hints: Callable[..., list[Namespace]]) -> None:
    (args,) = hints("runs", "--runs-dir", tmp_path / "a b")
    assert (args.command, args.runs_dir) == ("search", tmp_path / "a b")
    (args,) = hints("front", "--runs-dir", tmp_path / "a b", status=2)
    assert (args.command, args.runs_dir) == ("search", tmp_path / "a b")


def test_an_empty_front_is_gone_on_with(root: Path, hints: Callable[..., list[Namespace]]) -> None:
    front = root / "small" / "front.csv"
    front.write_text(front.read_text().splitlines()[0] + "\n")
    (args,) = hints("front", "--runs-dir", root)
    assert (args.command, args.resume, args.evaluations, args.runs_dir) == ("search", "small", 80, root)


def test_exports(root: Path, hints: Callable[..., list[Namespace]], tmp_path: Path) -> None:
    (args,) = hints("export", "--runs-dir", root)
    assert args.command == "evaluate"
    assert Path(args.config).parent == root / "small" / "exports"


@pytest.mark.parametrize("interrupted", [True, False])
@pytest.mark.parametrize("url", [None, "sqlite:///{tmp}/my study.db", "postgresql://me:secret@host/x"])
def test_searches(
    root: Path,
    hints: Callable[..., list[Namespace]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    interrupted: bool,
    url: str | None,
) -> None:
    def found(*_: object, **__: object) -> Any:
        return dataclasses.replace(open_run("small", runs_dir=root), interrupted=interrupted)

    monkeypatch.setattr(session, "search", found)
    url = url and url.format(tmp=tmp_path)
    storage = ("--storage", url) if url else ()
    if url:
        note_storage(root / "small", url)
    every = hints("search", "--runs-dir", root, *storage, status=130 if interrupted else 0)
    going_on = [args for args in every if args.command == "search"]
    assert {args.runs_dir for args in every} == {root}
    assert len(going_on) == interrupted
    for args in going_on:
        assert args.resume == "small"
        # What needs a password has it filled in; everything else is noted in the run.
        assert args.storage == ("postgresql://me:***@host/x" if url and "secret" in url else None)
    assert [args.pick for args in every if args.command == "export"] == ["knee"]


def test_an_evaluation_of_ones_own_model_leads_to_a_search_of_it(
    root: Path, hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: SimpleNamespace(to_json=dict))
    monkeypatch.setattr(evaluation_report, "print_report", lambda *_, **__: None)
    timed = ("--latency", "model:bops", "--latency-batch", "4")
    (args,) = hints("evaluate", *OWN, *SIZES, *timed, "--uniform", "W4A8T8")
    assert args.command == "search"
    asked = parse(["evaluate", *OWN, *SIZES, *timed])
    for name in ("model", "checkpoint", "data", "search_images", "batch_size", "without", "metrics"):
        assert getattr(args, name) == getattr(asked, name), name
    assert (args.latency, args.latency_batch) == ("model:bops", 4)
    exported = next((root / "small" / "exports").glob("*.json"), None) or _exported(root)
    *_, args = hints("evaluate", "--config", exported)
    assert (args.command, args.run, args.runs_dir) == ("front", "small", root)


def _exported(root: Path) -> Path:
    assert main(["export", "--runs-dir", str(root)]) == 0
    return next((root / "small" / "exports").glob("*.json"))


def test_a_profile_leads_to_an_evaluation_and_a_search_of_the_same(
    hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "profile", lambda *_, **__: SimpleNamespace(to_json=dict))
    monkeypatch.setattr(profile_report, "print_profile", lambda *_: None)
    found = hints("profile", *OWN, *SIZES[:2], "--bits=3,8", "--space", "layer", "--sensitivities", "none")
    assert [args.command for args in found] == ["evaluate", "search"]
    assert {(args.checkpoint, args.search_images) for args in found} == {("my weights.pth", 64)}
    assert (found[0].uniform, found[1].bits, found[1].space) == ("W3A3T3", "3,8", "layer")


def test_weights_and_tables_are_searched_with(
    hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "my weights.safetensors"
    fields = {field.name: 1 for field in dataclasses.fields(TrainingResult)}
    monkeypatch.setattr(
        train, "_train", lambda *_, **__: TrainingResult(**{**fields, "model": "digits_vit", "path": path})
    )
    (args,) = hints("train", "--model", "digits_vit", "--output", path)
    assert (args.command, args.model, args.checkpoint) == ("search", "digits_vit", str(path))
    table = tmp_path / "my table.csv"
    (args,) = hints("latency-table", "--template", table, "--bits", "4,8", "--scheme", "deploy")
    assert (args.command, args.latency, args.bits, args.scheme) == (
        "search",
        f"table:{table}",
        "4,8",
        "deploy",
    )


def test_comparisons(
    hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "my runs" / "compared"
    entry = {"sampler": "nsga2", "seeds": list(range(10)), "hypervolume": {"tight": [{"median": 1.0}]}}
    entry["hypervolume"]["fixed"] = entry["hypervolume"]["tight"]
    figures = {"interrupted": False, "samplers": [entry], "goal": {"boxes": ["tight", "fixed"]}}
    found = compare_samplers.Comparison(folder, figures)
    monkeypatch.setattr(compare_samplers, "compare_samplers", lambda *_, **__: found)
    monkeypatch.setattr(compare_samplers, "resume_comparison", lambda *_, **__: found)
    monkeypatch.setattr(comparison_report, "print_comparison", lambda *_: None)
    (args,) = hints(
        "compare-samplers", *OWN, "--max-drop", "1", "--bits", "3,8", "--hold", "A8T8", "--seeds", "3"
    )
    assert (args.command, args.sampler, args.checkpoint) == ("search", "nsga2", "my weights.pth")
    assert (args.max_drop, args.bits, args.hold) == (["1.0"], "3,8", "A8T8")
    figures["interrupted"] = True
    (args,) = hints("compare-samplers", "--resume", "compared", "--runs-dir", folder.parent, status=130)
    assert (args.command, args.resume, args.runs_dir) == ("compare-samplers", "compared", folder.parent)
    figures["interrupted"] = False
    assert hints("compare-samplers", "--resume", "compared", "--runs-dir", folder.parent) == []


def test_tables_of_models(
    hints: Callable[..., list[Namespace]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "my runs" / "compared"
    figures = {"interrupted": False, "pick": "top1=2,size=1", "searches": [{"run": "seed4"}]}
    found = compare.ModelComparison(folder, figures)
    for name in ("compare", "resume_compare", "open_compared"):
        monkeypatch.setattr(compare, name, lambda *_, **__: found)
    monkeypatch.setattr(model_tables, "print_tables", lambda *_: None)
    for words in (OWN, ("--resume", "compared"), ("compared", "other")):
        (args,) = hints("compare", *words)
        assert (args.command, args.run, args.pick) == ("export", "seed4", "top1=2,size=1")
        assert args.runs_dir == folder / "fronts"
    figures["interrupted"] = True
    (args,) = hints("compare", "--resume", "compared", status=130)
    assert (args.command, args.resume, args.runs_dir) == ("compare", "compared", folder.parent)


def test_messages_name_commands_that_can_be_run(root: Path) -> None:
    folder = RunStore(root).open("small")
    (folder.path / "summary.json").write_text("{")
    (folder.path / "space.json").write_text("{}")
    errors: list[BitfrontError] = [unknown_run(root, "quite another")]
    for act in (
        lambda: open_run("small", runs_dir=root),
        lambda: RunStore(root).open("other"),
        lambda: latest_run(root.parent),
        lambda: _failing(folder.resumable(lambda: resume_command(folder.path), begun="spec.json")),
    ):
        with pytest.raises(BitfrontError) as caught:
            act()
        errors.append(caught.value)
    for error in errors:
        (args,) = commands(str(error))
        assert args.runs_dir in (root, root.parent)
        assert args.command != "search" or args.resume in ("small", None)


def _failing(block: Any) -> None:
    with block:
        raise BitfrontError("the disk is full")


def test_what_a_resumed_run_reads_is_not_said_to_be_written_again(root: Path) -> None:
    (root / "small" / "space.json").write_text("{")
    with pytest.raises(UserError, match=r"space\.json is damaged .*: restore it from a copy$"):
        open_run("small", runs_dir=root)


@settings(derandomize=True, deadline=None)
@given(
    folder=st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
    )
)
def test_any_folder_survives_a_shell(folder: str) -> None:
    line = run_command(Path("/", folder, "small"), "front", "small", "--all")
    args = parse(shlex.split(line)[1:])
    assert (args.run, args.all, args.runs_dir) == ("small", True, Path("/", folder))


def test_words_are_kept_as_they_were_written() -> None:
    args = parse(["--json", "search", "--min=top1=70", "--min", "macro_f1=60", "--data", "search", "-v"])
    assert args.words["min_metric"] == ["--min=top1=70", "--min", "macro_f1=60"]
    assert args.words["data"] == ["--data", "search"]
    assert json.dumps(args.words)
