"""The recorded trials of a run, read whole and exactly while the run stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.files import absent_file
from bitfront.search.runs.journal import JOURNAL, damaged
from bitfront.search.runs.storage import open_storage, resumed_storage
from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def recorded_trials(folder: Path, problem: SearchProblem) -> tuple[Trial, ...]:
    """The finished trials of a run by number, as they were measured: tables have them rounded.

    Nothing is mended or written, so that a search may go on meanwhile.

    Args:
        folder: The run folder.
        problem: Names the space, the objectives and the constraints whose violations are read.

    Raises:
        UserError: The study is missing or damaged, or its database cannot be reached.
    """
    import optuna

    from bitfront.search.runs.study import StudyRecord

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = resumed_storage(folder, None)
    journal = folder / JOURNAL
    if url is None and not journal.is_file():
        raise absent_file(journal)
    try:
        storage = _journal(journal) if url is None else open_storage(folder, url)
        studies = [study.study_name for study in storage.get_all_studies()]
        # A run folder that was renamed keeps the one study that its journal has.
        name = studies[0] if url is None and len(studies) == 1 else folder.name
        study = optuna.load_study(study_name=name, storage=storage)
        return StudyRecord(study, storage, problem, journal if url is None else url).trials
    except BitfrontError:
        raise
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise damaged(journal, f"({type(error).__name__}: {error})") from error


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))
