"""The command line's skeleton: help is quick, mistakes are one line, options mean what the spec means."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.registry import FORMATS
from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.evaluators.latency.registry import TIMED_RUNTIMES, shipped_profiles
from bitfront.evaluators.preparation.recipes import INGREDIENTS, RECIPES
from bitfront.evaluators.quantizers.registry import OBSERVERS
from bitfront.search.cli.main import main
from bitfront.search.cli.options.specs import evaluation_spec, run_spec
from bitfront.search.cli.parser import COMMANDS, parse
from bitfront.search.problem.spec import RunSpec
from bitfront.search.samplers import registry
from bitfront.search.session.specs import completed_spec
from bitfront.spaces import GRANULARITIES, SCHEMES, Choices, UserError
from bitfront.spaces.schemes import AUTO

HEAVY = ("numpy", "torch", "timm", "pandas", "matplotlib", "rich", "pymoo", "optuna", "distributed")
COMMAND = [sys.executable, "-m", "bitfront.search.cli"]


def seconds(*arguments: str) -> float:
    """Processor time of a command: other processes may be at work meanwhile."""
    before = os.times()
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_quick(option: str) -> None:
    assert any(seconds(option) < 0.5 for _ in range(5)), "the quickest of five counts"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bitfront.search.cli.main import main; "
        "main(['--help']); main(['search', '--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "search for the front" in done.stdout


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bitfront {version('bitfront')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: bitfront {command}")
    assert "--json" in output
    assert "--debug" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no command was given"),
        (["fornt"], "there is no command 'fornt': did you mean front?"),
        (["xyzzy"], "choose one of search, runs"),
        (["front", "--jsno"], "did you mean --json?"),
        (["search", "--evaluatons=4"], "did you mean --evaluations?"),
        (["front", "a", "b"], "unexpected argument 'b'"),
        (["search", "--sampler", "nsga"], "did you mean nsga2?"),
        (["search", "--scheme", "deplo"], "did you mean deploy?"),
        (["search", "--recipe", "bets"], "did you mean best?"),
        (["search", "--without", "log-base,gelu-level"], "'gelu-level' (choose from rotated-stream, "),
        (["evaluate", "--without", "log-base,gelu-level"], "did you mean gelu-levels?"),
        (["profile", "--without", ""], "invalid choice: ''"),
        (["search", "--batch-size", "0"], "'0' is neither a whole number above 0 nor auto"),
        (["evaluate", "--threads", "two"], "'two' is neither a whole number above 0 nor auto"),
        (["search", "--evaluations", "0"], "'0' is not a whole number above 0"),
        (["search", "--seed", "-1"], "'-1' is not a whole number from 0 up"),
        (["search", "--max-drop", "101"], "'101' is not a number from 0 to 100"),
        (["search", "--min-top1", "nan"], "'nan' is not a number from 0 to 100"),
        (
            ["search", "--min-top1", "70", "--min", "top1=60"],
            "--min-top1 70 and --min top1=60: give one of them",
        ),
        (["search", "--max-drop", "1", "--max-drop", "2"], "--max-drop bounds top1 twice, at 1 and 2"),
        (
            ["search", "--max-drop", "macro_f1=1pt"],
            "--max-drop 'macro_f1=1pt' is no bound: write --max-drop METRIC=VALUE",
        ),
        (
            ["search", "--confidence", "1.2"],
            "'1.2' is no probability from 0.5 to below 1, such as 0.8 or 80%",
        ),
        (["search", "--confidence", "100%"], "'100%' is no probability from 0.5 to below 1"),
        (["search", "--confidence", "0.2"], "'0.2' is no probability from 0.5 to below 1"),
        (["search", "--confidence", "80"], "'80' is no probability from 0.5 to below 1"),
        (["search", "--confidence", "nan"], "'nan' is no probability from 0.5 to below 1"),
        (["search", "--confidence", "abc"], "'abc' is no probability from 0.5 to below 1"),
        (["search", "--confidence", ""], "'' is no probability from 0.5 to below 1"),
        (["search", "--run", "a", "--resume", "b"], "not allowed with"),
        (["search", "--checkpoint", "a", "--pretrained"], "not allowed with"),
        (["evaluate", "--config", "a", "--uniform", "W8A8T8"], "not allowed with"),
        (["search", "--data"], "expected one argument"),
        (["latency-table", "--seconds", "0"], "'0' is not a whole number above 0"),
        (["latency-table", "--output", "a", "--template", "b"], "not allowed with"),
        (["latency_table"], "did you mean latency-table?"),
    ],
)
def test_mistakes_are_one_line_with_status_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    error = captured.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert expected in error
    assert captured.out == ""
    assert "Traceback" not in captured.err
    if arguments:
        assert len(captured.err.splitlines()) == 1


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["front", "--debug", "../../etc"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("error: ")


def test_search_defaults_are_those_of_the_spec() -> None:
    args, spec = parse(["search"]), RunSpec()
    for name in ("space", "sampler", "seed", "latency", "allow_uniform", "confidence"):
        assert getattr(args, name) == getattr(spec, name), name
    # Unwritten, these are as it suits the sampler.
    assert (args.evaluations, args.population) == (None, None)
    assert (spec.evaluations, spec.population) == (None, None)
    assert (completed_spec(spec)[0].population, spec.latency_batch) == (4, None)
    for name in ("hold", "max_latency", "max_size", "min_top1", "max_drop", "time_budget", "plateau"):
        assert getattr(args, name) is None
        assert getattr(spec, name) is None
    assert args.objectives == (), "the task's own"
    assert spec.objectives == ("top1", "latency", "size")
    assert args.bits is None, "as it suits the model"
    assert spec.evaluation.widths == (2, 4, 8)
    assert EvaluationSpec(model="deit_tiny_patch16_224").widths == (4, 8)


@pytest.mark.parametrize("command", ["search", "compare-samplers"])
def test_formats_are_read_by_kind(command: str) -> None:
    words = ["--formats", "weights=int4,int8,int8a,bf16", "activations=int8,bf16", "--bits", "8"]
    spec = run_spec(parse([command, *words]))
    assert spec.evaluation.choices == Choices((4, 8, "int8a", "bf16"), (8, "bf16"), (8,))
    assert RunSpec.from_json(spec.to_json()) == spec
    assert run_spec(parse([command])).evaluation.formats == ()


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("search", ()),
        ("evaluate", ("first_images", "formats")),
        ("profile", ("batch_size", "first_images")),
        ("latency-table", ("batch_size", "threads", "first_images")),
    ],
)
def test_evaluation_defaults_are_those_of_the_spec(command: str, own: tuple[str, ...]) -> None:
    args, spec = parse([command]), EvaluationSpec()
    assert args.data == "", "what the model was made for"
    shared = vars(spec).keys() - {"data", "widths", "tell_apart", "refinement", *own}
    assert {name: getattr(args, name) for name in shared} == {name: getattr(spec, name) for name in shared}


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        ("search", "observer", OBSERVERS),
        ("search", "recipe", RECIPES),
        ("search", "scheme", (AUTO, *SCHEMES)),
        ("search", "sampler", registry.SAMPLERS),
        ("search", "space", GRANULARITIES),
        ("profile", "space", GRANULARITIES),
        ("export", "format", FORMATS),
        ("export", "runtime", RUNTIMES),
    ],
)
def test_choices_are_those_of_the_registries(command: str, option: str, names: Iterable[str]) -> None:
    for name in names:
        assert getattr(parse([command, f"--{option}", name]), option) == name
    with pytest.raises(UserError) as caught:
        parse([command, f"--{option}", "none of them"])
    offered = re.findall(r"'([\w-]+)'", str(caught.value).partition("choose from")[2])
    assert offered == list(names)


def test_help_names_what_the_registries_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for name in (*INGREDIENTS, *shipped_profiles(), *registry.SAMPLERS):
        assert name in told.replace("- ", "-")
    for name in TIMED_RUNTIMES:
        assert f"measured:{name}" in told


def test_ingredients_are_in_the_order_of_preparation_whatever_was_written() -> None:
    args = parse(["search", "--without", "log-base, rotated-stream,log-base"])
    assert args.without == ("rotated-stream", "log-base")
    assert args.given == {"without"}


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), ("0.8", 0.8), ("0.5", 0.5), ("99.5%", 0.995)])
def test_confidences_are_shares_or_percentages(text: str, share: float) -> None:
    assert parse(["search", "--confidence", text]).confidence == pytest.approx(share, rel=1e-12)
    assert parse(["search"]).confidence == 0.8


def test_batch_size_and_threads_are_numbers_or_measured() -> None:
    assert (parse(["search"]).batch_size, parse(["search"]).threads) == (None, None)
    written = parse(["evaluate", "--batch-size", "auto", "--threads", "3"])
    assert (written.batch_size, written.threads) == (None, 3)
    assert written.given == {"batch_size", "threads"}


def test_given_tells_written_options_from_defaults() -> None:
    assert parse(["search"]).given == frozenset()
    args = parse(["search", "-v", "--seed", "0", "--allow-uniform", "--resume", "night", "--json"])
    assert args.given == {"seed", "allow_uniform", "resume"}
    assert parse(["front", "r"]).given == {"run"}


def test_common_options_work_before_the_command() -> None:
    args = parse(["--json", "-vv", "front"])
    assert args.json
    assert args.verbose == 2
    assert not parse(["front"]).json


def test_runs_dir_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parse(["front"]).runs_dir) == "runs"
    monkeypatch.setenv("BITFRONT_RUNS", "elsewhere")
    assert str(parse(["front"]).runs_dir) == "elsewhere"
    assert str(parse(["front", "--runs-dir", "here"]).runs_dir) == "here"


def test_mistakes_are_user_errors() -> None:
    with pytest.raises(UserError):
        parse(["front", "--nope"])


def test_preprocessing_is_written_as_for_timm() -> None:
    words = (
        "evaluate --mean 0.5 0.4 0.3 --std 0.2,0.2,0.2 --img-size 384x288 --crop-pct 0.95 --crop-mode squash "
        "--interpolation bicubic"
    )
    args = parse(words.split())
    spec = evaluation_spec(args, (4, 8))
    assert (spec.image_size, spec.mean, spec.std) == ((384, 288), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert (spec.crop_pct, spec.crop_mode, spec.interpolation) == (0.95, "squash", "bicubic")
    assert args.given >= {"image_size", "mean", "std", "crop_pct", "crop_mode", "interpolation"}
    plain = parse(["evaluate", "--image-size", "96"])
    assert evaluation_spec(plain, (4, 8)).image_size == (96, 96)
    assert evaluation_spec(parse(["evaluate"]), (4, 8)) == EvaluationSpec(widths=(4, 8))
    assert evaluation_spec(parse(["evaluate", "--model", "digits_deit"]), ()) == EvaluationSpec(
        model="digits_deit", data="digits", widths=(4, 8)
    )
