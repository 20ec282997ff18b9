"""Commands of task generation: options that hold, and one line for those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.search.cli.main import main
from bitfront.search.cli.options.generation import generation_spec
from bitfront.search.cli.parser import parse


def test_options_become_a_spec(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n")
    words = ["search", "--task", "generation", "--pipeline", "x", "--prompts", str(prompts), "--seeds", "1,2"]
    words += ["--formats", "fp32,int8", "--min", "psnr=30", "--max-size", "0.5x", "--evaluations", "7"]
    spec = generation_spec(parse([*words, "--guidance", "1", "--whole-components"]))
    assert (spec.pipeline, spec.prompts, spec.seeds) == ("x", ("a cat",), (1, 2))
    assert (spec.formats, spec.min_metric, spec.max_size) == (("int8", "fp32"), ("psnr=30",), "0.5x")
    assert (spec.guidance, spec.whole_components, spec.evaluations) == (1.0, True, 7)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--task", "generation", "--bits", "4,8"), "--bits is for classifiers"),
        (("--pipeline", "x"), "give --task generation as well"),
        (("--task", "generation", "--pipeline", "nowhere"), "there is no pipeline 'nowhere'"),
        (("--task", "generation", "--formats", "int3"), "unknown format 'int3'"),
        (("--task", "generation", "--objectives", "top1"), "unknown objective 'top1'"),
        (("--task", "generation", "--guidance", "0"), "not a number from 1 up"),
        (("--task", "generation", "--classes", "x"), "not a whole number"),
        (("--task", "generation", "--sampler", "thresholds"), "take another one for a pipeline"),
    ],
)
def test_mistakes_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    pytest.importorskip("diffusers")
    assert main(["search", *words, "--runs-dir", str(tmp_path)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert told in errors[0]
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_an_empty_line_among_prompts_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n\n")
    words = [
        "search",
        "--task",
        "generation",
        "--prompts",
        str(prompts),
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    assert main(words) == 2
    assert "line 2 is empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["tables", "recommend"])
def test_runs_of_other_tasks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "spec.json").write_text("{}")
    assert main([command, "other", "--runs-dir", str(tmp_path)]) == 2
    assert "of another task than generation" in capsys.readouterr().err
