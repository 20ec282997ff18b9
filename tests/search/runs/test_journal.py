"""Journals: whatever was cut, joined or blank, the same trials are read or the damaged line is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.journal import JOURNAL, evaluations_recorded, mend
from bitfront.search.runs.study import StudyRecord
from bitfront.spaces import BitfrontError, UserError

SPEC = RunSpec(max_drop=2.0)
TRIALS = 6


@pytest.fixture(scope="module")
def journal(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A run folder and the journal of some trials: evaluated ones, one rejected, one left running."""
    folder = tmp_path_factory.mktemp("runs") / "test"
    folder.mkdir()
    problem = synthetic.problem(SPEC)
    record = StudyRecord.create(folder, "test", SPEC, problem, None)
    genomes = problem.space.sample(np.random.default_rng(0), TRIALS)
    for number, genome in enumerate(genomes):
        candidate = problem.prepare(genome)
        if number == 2:
            record.reject(candidate, 0.5)
        else:
            record.begin(candidate)
        if number not in (2, TRIALS - 1):
            record.finish(problem.trial(number, candidate, synthetic.score(candidate.config), 1.0))
    return folder, (folder / JOURNAL).read_bytes()


def opened(synthetic: ModuleType, folder: Path, content: bytes) -> tuple[Trial, ...]:
    (folder / JOURNAL).write_bytes(content)
    return StudyRecord.open(folder, "test", SPEC, synthetic.problem(SPEC), None).trials


def finished(content: bytes) -> int:
    """How many trials the whole operations at the beginning of a text finish."""
    count, text, at = 0, content.decode(errors="replace"), 0
    while at < len(text):
        try:
            operation, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            break
        while text[at : at + 1].isspace():
            at += 1
        code = operation["op_code"]
        count += (code == 6 and operation["state"] != 0) or (code == 4 and operation.get("state", 0) > 1)
    return count


KNOWN = settings(
    derandomize=True,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@KNOWN
@given(data=st.data())
def test_what_is_harmless_costs_no_trial(
    synthetic: ModuleType, journal: tuple[Path, bytes], data: st.DataObject
) -> None:
    folder, content = journal
    known = opened(synthetic, folder, content)
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content)), "bytes left")]
    lines = content.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(0, 2), "blank lines")):
        blank = data.draw(st.sampled_from([b"\n", b"  \n", b"\r\n", b"\t\n\n"]))
        lines.insert(data.draw(st.integers(0, len(lines))), blank)
    for _ in range(data.draw(st.integers(0, 2), "joined lines") if lines else 0):
        place = data.draw(st.integers(0, len(lines) - 1))
        lines[place] = lines[place].rstrip()
    trials = opened(synthetic, folder, b"".join(lines))
    assert trials == known[: len(trials)]
    assert len(trials) == finished(content)
    assert opened(synthetic, folder, (folder / JOURNAL).read_bytes()) == trials


@KNOWN
@given(data=st.data())
def test_a_line_cut_short_before_others_is_named(
    synthetic: ModuleType, journal: tuple[Path, bytes], data: st.DataObject
) -> None:
    folder, content = journal
    lines = content.splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 2), "line")
    ended = data.draw(st.booleans(), "followed by a line feed")
    left = data.draw(st.integers(1, len(lines[place]) - 2), "bytes left")
    lines[place] = lines[place][:left] + b"\n" * ended
    with pytest.raises(
        UserError, match=rf"study\.log is damaged in line {place + 1}, .* from a copy"
    ) as error:
        opened(synthetic, folder, b"".join(lines))
    assert "\n" not in str(error.value)
    assert "--resume" not in str(error.value), "which would end in the same way"
    assert (folder / JOURNAL).read_bytes() == b"".join(lines), "what is damaged is left as it is"


@KNOWN
@given(data=st.data())
def test_lines_that_are_missing_or_of_others_are_one_line(
    synthetic: ModuleType, journal: tuple[Path, bytes], data: st.DataObject
) -> None:
    folder, content = journal
    lines = content.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        foreign = data.draw(st.sampled_from([b"", b'{"a": 1}\n', b'{"op_code": 99}\n', lines[-1]]))
        lines[data.draw(st.integers(0, len(lines) - 1))] = foreign
    told = "study"
    try:
        opened(synthetic, folder, b"".join(lines))
    except BitfrontError as error:
        told = str(error)
    assert "study" in told
    assert "\n" not in told


def test_operations_in_one_line_and_blank_lines_are_told(
    journal: tuple[Path, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder, content = journal
    lines = content.splitlines(keepends=True)
    path = folder / JOURNAL
    path.write_bytes(b"\n" + lines[0].rstrip() + b"".join(lines[1:]) + b'{"op_')
    mend(path)
    assert path.read_bytes() == content
    told = "cut an incomplete last line of 5 bytes; parted 2 operations in line 2; removed 1 blank line"
    assert sorted(caplog.messages[0].removeprefix("study.log: ").split("; ")) == sorted(told.split("; "))
    mend(path)
    assert len(caplog.messages) == 1


def test_evaluations_are_counted_without_reading_a_study(journal: tuple[Path, bytes], tmp_path: Path) -> None:
    path = journal[0] / JOURNAL
    path.write_bytes(journal[1])
    assert evaluations_recorded(path) == TRIALS - 2
    path.write_bytes(journal[1] + b'{"op_code":6,"sta')
    assert evaluations_recorded(path) == TRIALS - 2
    assert evaluations_recorded(tmp_path / "none.log") == 0
