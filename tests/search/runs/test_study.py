"""The study: what is recorded, what a reopened one gives back, and what is refused."""

import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from search_contracts import TrialRecordContract

from bitfront.evaluators.tasks.quality import packed
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.storage import open_storage, without_password
from bitfront.search.runs.study import StudyRecord
from bitfront.spaces import BitfrontError, UserError

SPEC = RunSpec(max_drop=2.0)


@pytest.fixture
def problem(synthetic):
    return synthetic.problem(SPEC)


def candidates(problem, count, seed=0):
    return [problem.prepare(genome) for genome in problem.space.sample(np.random.default_rng(seed), count)]


def evaluated(synthetic, problem, candidate, number, elapsed=1.5):
    values, violations = problem.judge(candidate, synthetic.score(candidate.config))
    return Trial(number, candidate.digest, candidate.genome, "complete", values, violations, None, elapsed)


@pytest.mark.parametrize("which", [0, 1], ids=["journal", "sqlite"])
def test_which_images_are_right_is_recorded(synthetic, problem, folder, tmp_path, which):
    url = databases(tmp_path)[which]
    record = StudyRecord.create(folder.path, "test", SPEC, problem, url)
    flags = np.arange(500) % 9 > 0
    first, second = candidates(problem, 2)
    for number, (candidate, right) in enumerate([(first, packed(flags)), (second, "")]):
        record.begin(candidate)
        quality = dataclasses.replace(
            synthetic.score(candidate.config), right=right, expected_difference=-0.5 if right else None
        )
        record.finish(problem.trial(number, candidate, quality, 1.0))
    known, earlier = StudyRecord.open(folder.path, "test", SPEC, problem, url).trials
    assert known.right == packed(flags)
    assert known.values["expected_difference"] == -0.5
    assert "right" not in known.values
    assert earlier.right == ""
    assert "expected_difference" not in earlier.values


def open_study(folder, url):
    return optuna.load_study(study_name="test", storage=open_storage(folder.path, url))


def failed(candidate, number):
    known = candidate.values, candidate.violations
    return Trial(number, candidate.digest, candidate.genome, "failed", *known, "RuntimeError: saturated", 2.0)


def fill(synthetic, problem, record):
    """One complete, one failed, one rejected, one left running; told in another order than asked."""
    first, second, third = candidates(problem, 3)
    rejected = problem.prepare([0] * len(problem.space))
    assert [record.begin(first), record.begin(second)] == [0, 1]
    told = [failed(second, 1), record.reject(rejected, 0.5), evaluated(synthetic, problem, first, 0)]
    assert record.begin(third) == 3
    record.finish(told[0])
    record.finish(told[2])
    return sorted(told, key=lambda trial: trial.number), third


def databases(tmp_path: Path) -> list[str | None]:
    return [None, f"sqlite:///{tmp_path}/study.db"]


@pytest.mark.parametrize("which", [0, 1], ids=["journal", "sqlite"])
def test_a_reopened_study_gives_the_trials_back(synthetic, problem, folder, tmp_path, which):
    url = databases(tmp_path)[which]
    record = StudyRecord.create(folder.path, "test", SPEC, problem, url)
    told, left = fill(synthetic, problem, record)
    reopened = StudyRecord.open(folder.path, "test", SPEC, problem, url)
    assert list(reopened.trials) == list(record.trials) == told
    assert [t.elapsed_s for t in reopened.trials] == [1.5, 2.0, 0.5]
    assert reopened.elapsed_s == 2.0
    assert reopened.begin(left) == 3, "the trial that was left running is taken up again"
    reopened.finish(evaluated(synthetic, problem, left, 3))
    assert len(StudyRecord.open(folder.path, "test", SPEC, problem, url).trials) == 4


def test_optuna_sees_parameters_values_constraints_and_states(synthetic, problem, folder):
    told, _ = fill(synthetic, problem, StudyRecord.create(folder.path, "test", SPEC, problem, None))
    backend = optuna.storages.journal.JournalFileBackend(str(folder.path / "study.log"))
    study = optuna.load_study(study_name="test", storage=optuna.storages.JournalStorage(backend))
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["top1", "latency_ms", "size_bytes"]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "PRUNED", "RUNNING"]
    complete, fail, pruned, _ = study.trials
    assert complete.values == [told[0].values[c] for c in ("top1", "latency_ms", "size_bytes")]
    assert complete.constraints == told[0].violations
    assert set(complete.constraints) == set(problem.constraint_names)
    assert complete.params == problem.space.bits(np.array(told[0].genome))
    assert complete.user_attrs["measured"]["kl"] == told[0].values["kl"]
    assert fail.user_attrs["error"] == "RuntimeError: saturated"
    assert pruned.constraints["not_all_4bit"] == 1.0


@pytest.mark.parametrize("which", [0, 1], ids=["journal", "sqlite"])
def test_studies_of_earlier_versions_get_names_of_objectives_when_they_are_gone_on_with(
    synthetic, problem, folder, tmp_path, which, monkeypatch
):
    url = databases(tmp_path)[which]
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_metric_names", lambda study, names: None)
        told, _ = fill(synthetic, problem, StudyRecord.create(folder.path, "test", SPEC, problem, url))
    assert open_study(folder, url).metric_names is None
    for _ in range(2):
        assert list(StudyRecord.open(folder.path, "test", SPEC, problem, url).trials) == told
        assert open_study(folder, url).metric_names == ["top1", "latency_ms", "size_bytes"]


def test_other_settings_are_refused_by_name_and_budgets_may_grow(problem, folder):
    StudyRecord.create(folder.path, "test", SPEC, problem, None)
    other = dataclasses.replace(SPEC, seed=7, bitfront="0.0.1")
    with pytest.raises(
        UserError, match=r"other settings: bitfront \(.*, not 0\.0\.1\); search seed \(0, not 7\)"
    ):
        StudyRecord.open(folder.path, "test", other, problem, None)
    longer = dataclasses.replace(SPEC, evaluations=999)
    StudyRecord.open(folder.path, "test", longer, problem, None)
    StudyRecord.open(folder.path, "test", longer, problem, None)


def test_foreign_missing_and_duplicate_studies_are_refused(problem, folder, tmp_path):
    url = databases(tmp_path)[1]
    with pytest.raises(UserError, match=r"has no study\.log"):
        StudyRecord.open(folder.path, "test", SPEC, problem, None)
    with pytest.raises(UserError, match="has no study 'test'"):
        StudyRecord.open(folder.path, "test", SPEC, problem, url)
    StudyRecord.create(folder.path, "test", SPEC, problem, url)
    with pytest.raises(UserError, match="has a study 'test' already: go on with --resume test"):
        StudyRecord.create(folder.path, "test", SPEC, problem, url)
    optuna.create_study(storage=url, study_name="foreign")
    with pytest.raises(BitfrontError, match="was not written by bitfront"):
        StudyRecord.open(folder.path, "foreign", SPEC, problem, url)


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuch://user:secret@host/db", "sqlite:////no/such/folder/x.db"]
)
def test_a_database_that_cannot_be_opened_is_one_line_without_its_password(problem, folder, url):
    with pytest.raises(UserError, match=r"--storage .* cannot be opened") as error:
        StudyRecord.create(folder.path, "test", SPEC, problem, url)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert without_password("postgresql://u:p@h/d") == "postgresql://u:***@h/d"


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_last_line_cut_short_is_mended(synthetic, problem, folder, cut):
    record = StudyRecord.create(folder.path, "test", SPEC, problem, None)
    told, _ = fill(synthetic, problem, record)
    journal = folder.path / "study.log"
    whole = journal.read_bytes()
    (candidate,) = candidates(problem, 1, seed=9)
    last = evaluated(synthetic, problem, candidate, 4)
    record.begin(candidate)
    begun = journal.read_bytes()
    journal.write_bytes(begun[:-cut])
    reopened = StudyRecord.open(folder.path, "test", SPEC, problem, None)
    assert list(reopened.trials) == told
    assert journal.read_bytes() == (begun if cut == 1 else whole)
    assert reopened.begin(candidate) == 4
    reopened.finish(last)
    assert StudyRecord.open(folder.path, "test", SPEC, problem, None).trials[-1] == last


def test_a_damaged_middle_is_told(problem, folder):
    StudyRecord.create(folder.path, "test", SPEC, problem, None)
    journal = folder.path / "study.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b'{"op_\n', *lines[1:]]))
    with pytest.raises(BitfrontError, match=r"study\.log is damaged .* start a new run"):
        StudyRecord.open(folder.path, "test", SPEC, problem, None)


def altered(journal: Path, change: Callable[[dict[str, Any]], bool]) -> None:
    """Changes the first line of a journal that ``change`` says it has changed."""
    lines = journal.read_text().splitlines()
    for number, line in enumerate(lines):
        document = json.loads(line)
        if change(document):
            lines[number] = json.dumps(document, separators=(",", ":"))
            break
    else:
        raise AssertionError("no such line")
    journal.write_text("\n".join(lines) + "\n")


def other_value(document: dict[str, Any]) -> bool:
    values = document.get("values") or []
    return bool(values) and not document.update(values=[values[0] + 1, *values[1:]])


def other_measurement(document: dict[str, Any]) -> bool:
    measured = (document.get("user_attr") or {}).get("measured") or {}
    return "kl" in measured and not measured.update(kl=measured["kl"] * (1 + 1e-15))


def other_gene(document: dict[str, Any]) -> bool:
    genes = document.get("params") or {}
    return bool(genes) and not genes.update({next(iter(genes)): 1 - next(iter(genes.values()))})


@pytest.mark.parametrize("change", [other_value, other_measurement, other_gene])
def test_an_altered_number_is_not_gone_on_with(synthetic, problem, folder, change):
    record = StudyRecord.create(folder.path, "test", SPEC, problem, None)
    fill(synthetic, problem, record)
    altered(folder.path / "study.log", change)
    with pytest.raises(BitfrontError, match=r"study\.log is damaged .*differs from its checksum"):
        StudyRecord.open(folder.path, "test", SPEC, problem, None)


def test_studies_of_earlier_versions_have_no_checksums(synthetic, problem, folder):
    record = StudyRecord.create(folder.path, "test", SPEC, problem, None)
    told, _ = fill(synthetic, problem, record)
    journal = folder.path / "study.log"
    journal.write_text(re.sub(r',"checksum":"[0-9a-f]{8}"', "", journal.read_text()))
    assert list(StudyRecord.open(folder.path, "test", SPEC, problem, None).trials) == told


def test_a_lock_left_behind_is_removed(problem, folder):
    StudyRecord.create(folder.path, "test", SPEC, problem, None)
    (folder.path / "study.log.lock").symlink_to(folder.path / "study.log")
    reopened = StudyRecord.open(folder.path, "test", SPEC, problem, None)
    assert reopened.begin(candidates(problem, 1)[0]) == 0, "else this waits half a minute for the lock"
    assert not os.path.lexists(folder.path / "study.log.lock")


def test_a_full_disk_is_one_line_and_what_was_recorded_stays(synthetic, problem, folder, monkeypatch):
    record = StudyRecord.create(folder.path, "test", SPEC, problem, None)
    told, left = fill(synthetic, problem, record)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BitfrontError, match=r"no space left on device; free some space"):
            record.finish(evaluated(synthetic, problem, left, 3))
    assert list(StudyRecord.open(folder.path, "test", SPEC, problem, None).trials) == told


def test_a_lock_that_cannot_be_released_is_one_line_too(synthetic, problem, folder, monkeypatch):
    record = StudyRecord.create(folder.path, "test", SPEC, problem, None)
    told, left = fill(synthetic, problem, record)

    def full(*places: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(BitfrontError, match=r"study\.log: no space left on device; free some space"):
            record.finish(evaluated(synthetic, problem, left, 3))
    assert list(StudyRecord.open(folder.path, "test", SPEC, problem, None).trials) == told


@pytest.mark.parametrize("created", [False, True])
def test_a_study_of_a_process_that_was_killed_while_creating_it_is_gone_on_with(problem, folder, created):
    storage = open_storage(folder.path, None)
    if created:
        directions = ["maximize", "minimize", "minimize"]
        optuna.create_study(storage=storage, study_name="test", directions=directions)
    assert (folder.path / "study.log").exists() or not created
    (folder.path / "study.log").touch()
    record = StudyRecord.open(folder.path, "test", SPEC, problem, None)
    assert record.trials == ()
    again = StudyRecord.open(folder.path, "test", SPEC, problem, None)
    assert again.trials == ()


class TestContract(TrialRecordContract):
    @pytest.fixture(params=["journal", "sqlite", "memory"])
    def record(self, request, problem, folder, tmp_path):
        if request.param == "memory":
            return StudyRecord.in_memory(problem)
        url = databases(tmp_path)[request.param == "sqlite"]
        return StudyRecord.create(folder.path, "contract", SPEC, problem, url)
