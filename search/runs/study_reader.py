"""Trials as a study keeps them, and all of a run, read exactly while the run stays as it is."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.trial import TrialState as State
from bitfront.search.runs.files import absent_file
from bitfront.search.runs.journal import JOURNAL, damaged
from bitfront.search.runs.storage import open_storage, resumed_storage
from bitfront.spaces import BitfrontError, SearchSpace

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# User attributes of a trial; what is in the last two is an entry of MEASURED.
DIGEST, MEASURED, ERROR, ELAPSED, RIGHT = "digest", "measured", "error", "elapsed_s", "right"
# Another entry of MEASURED, where the evaluation was taken from an earlier run.
KNOWN = "known"
# Of a trial, so that a file that was damaged or edited is not gone on with; earlier versions wrote none.
CHECKSUM = "checksum"
# By the names of Optuna's states; its pruned trials are candidates that were rejected, and those that were
# screened: these have values.
_STATES: dict[str, State] = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "rejected"}
_SCREENED: State = "screened"


def checksum_of(trial: Trial) -> str:
    """CRC-32 of what a study keeps of a trial: configuration, values, violations, error, right images."""
    values, violations = (
        sorted((name, float(value).hex()) for name, value in found.items())
        for found in (trial.values, trial.violations)
    )
    kept = (trial.digest, trial.genome, trial.state, values, violations, trial.error, trial.right)
    return f"{zlib.crc32(repr(kept).encode()):08x}"


def read_trial(
    frozen: FrozenTrial, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[str]
) -> Trial:
    """A finished trial of a study.

    Args:
        frozen: As Optuna has it.
        space: Whose genes its parameters are.
        objectives: Whose values it has.
        constraints: Names of those whose violations are read.

    Raises:
        KeyError, TypeError, ValueError: It is none of such a study, or differs from its checksum.
    """
    attributes = dict(frozen.user_attrs)
    digest, error = str(attributes.pop(DIGEST)), attributes.pop(ERROR, None)
    measured: dict[str, Any] = attributes.pop(MEASURED, {})
    attributes |= measured
    elapsed, right = float(attributes.pop(ELAPSED, 0.0)), str(attributes.pop(RIGHT, ""))
    checksum, known = attributes.pop(CHECKSUM, None), bool(attributes.pop(KNOWN, False))
    state = _STATES[frozen.state.name]
    if state == "complete":
        pairs = zip(objectives, frozen.values, strict=True)
        attributes |= {objective.column: value for objective, value in pairs}
    elif state == "rejected" and measured:
        state = _SCREENED
    genome = tuple(gene.choices.index(frozen.params[gene.name]) for gene in space.genes)
    violations = {name: frozen.constraints[name] for name in constraints if name in frozen.constraints}
    trial = Trial(frozen.number, digest, genome, state, attributes, violations, error, elapsed, right, known)
    if checksum not in (None, checksum_of(dataclasses.replace(trial, violations=dict(frozen.constraints)))):
        raise ValueError(f"trial {trial.number} differs from its checksum")
    return trial


def recorded_trials(
    folder: Path, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[str] = ()
) -> tuple[Trial, ...]:
    """The finished trials of a run by number, as they were measured: tables have them rounded.

    Nothing is mended or written, so that a search may go on meanwhile. Arguments are those of
    :func:`read_trial`.

    Raises:
        UserError: The study is missing or damaged, or its database cannot be reached.
    """
    import optuna

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
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        finished = (trial for trial in trials if trial.state.is_finished())
        return tuple(read_trial(trial, space, objectives, constraints) for trial in finished)
    except BitfrontError:
        raise
    except OSError:
        raise
    except Exception as error:  # what Optuna raises depends on what is missing
        raise damaged(journal, f"({type(error).__name__}: {error})") from error


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))
