"""The study: an Optuna study that records every trial of a run the moment it is known."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from bitfront.evaluators.files import write_atomically
from bitfront.search.problem.problem import Candidate, SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.files import located, portable, read_json
from bitfront.search.runs.journal import JOURNAL, damaged
from bitfront.search.runs.recording import recorded
from bitfront.search.runs.storage import open_storage, without_password
from bitfront.search.runs.study_reader import (
    CHECKSUM,
    DIGEST,
    ELAPSED,
    ERROR,
    KNOWN,
    MEASURED,
    RIGHT,
    checksum_of,
    read_trial,
)
from bitfront.spaces import BitfrontError, UserError

_SPEC = "spec"
UNRECORDED = "unrecorded.json"
_DIRECTIONS = {"minimise": StudyDirection.MINIMIZE, "maximise": StudyDirection.MAXIMIZE}


class RecordedSpec(Protocol):
    """The settings of a search, which its study keeps."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""

    def check_resumed_as(self, other: Self, name: str) -> None:
        """Raises :class:`UserError` where ``other`` cannot go on with the run ``name`` of this spec."""


class StudyRecord:
    """Records trials in an Optuna study; one process writes, optuna-dashboard may read meanwhile.

    A trial is created, as running, in the order of asking and told when its result arrives, so its number
    depends on the seed alone. Genes are the parameters, objectives the values; digest, costs and ``measured``
    (all other measurements) are user attributes. Rejected and screened candidates are Optuna's pruned trials.

    Args:
        study: The study.
        storage: Where it is kept.
        problem: The space whose genes, and the objectives whose values, are recorded.
        place: What to name in messages about a failure to write: the journal, or the URL of a database.
        unrecorded: File for a result that a database does not take; None where there is no database.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        problem: SearchProblem,
        place: Path | str,
        unrecorded: Path | None = None,
    ) -> None:
        self._study = study
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._problem = problem
        self._place = place
        self._unrecorded = unrecorded
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: CategoricalDistribution(gene.choices) for gene in problem.space.genes
        }
        frozen = study.get_trials(deepcopy=False)
        self._finished = {
            t.number: read_trial(t, problem.space, problem.objectives, problem.constraint_names)
            for t in frozen
            if t.state.is_finished()
        }
        self._running = {str(t.user_attrs[DIGEST]): t.number for t in frozen if not t.state.is_finished()}

    @classmethod
    def create(
        cls, folder: Path, name: str, spec: RecordedSpec, problem: SearchProblem, url: str | None
    ) -> StudyRecord:
        """Begins the study of a new run, in ``folder`` or in the database at ``url``.

        Raises:
            UserError: The database has a study of this name already, or the place is not writable.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage, place = open_storage(folder, url), _place(folder, url)
        try:
            study = recorded(place, lambda: _new_study(storage, problem, name))
        except optuna.exceptions.DuplicatedStudyError as error:
            raise UserError(
                f"the storage has a study {name!r} already: go on with --resume {name}, or choose "
                "another --run"
            ) from error
        recorded(place, lambda: _describe(study, problem, portable(spec.to_json(), folder)))
        return cls(study, storage, problem, place, folder / UNRECORDED if url else None)

    @classmethod
    def in_memory(cls, problem: SearchProblem) -> StudyRecord:
        """A record that ends with this process, for searches whose evaluations are kept elsewhere."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        return cls(_new_study(storage, problem), storage, problem, "memory")

    @classmethod
    def open(
        cls, folder: Path, name: str, spec: RecordedSpec, problem: SearchProblem, url: str | None
    ) -> StudyRecord:
        """Opens the study of an earlier run, to go on with it; its budgets become those of ``spec``.

        Raises:
            UserError: There is none, or it was written with other settings or by another version.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if url is None and not (folder / JOURNAL).exists():
            raise UserError(f"{folder} has no {JOURNAL}: give the run's --storage URL, or start a new run")
        storage, place = open_storage(folder, url), _place(folder, url)
        sampler = optuna.samplers.RandomSampler()
        try:
            study = recorded(
                place, lambda: optuna.load_study(storage=storage, study_name=name, sampler=sampler)
            )
        except KeyError as error:
            if url is None:  # the process was killed before its journal had one
                return cls.create(folder, name, spec, problem, url)
            raise UserError(
                f"the storage has no study {name!r}: start a new run with --run {name}"
            ) from error
        written = portable(spec.to_json(), folder)
        ours = study.directions == [_DIRECTIONS[o.direction] for o in problem.objectives]
        if ours and not study.user_attrs and not study.get_trials(deepcopy=False):
            # The process was killed between the study's creation and its first attribute.
            recorded(place, lambda: _describe(study, problem, written))
        if _SPEC not in study.user_attrs:
            raise BitfrontError(f"study {name!r} was not written by bitfront: start a new run with --run")
        type(spec).from_json(located(study.user_attrs[_SPEC], folder)).check_resumed_as(spec, name)
        if study.metric_names is None:  # earlier versions did not name them
            recorded(place, lambda: _name_objectives(study, problem))
        if study.user_attrs[_SPEC] != written:
            recorded(place, lambda: study.set_user_attr(_SPEC, written))
        try:
            unrecorded = folder / UNRECORDED if url else None
            record = recorded(place, lambda: cls(study, storage, problem, place, unrecorded))
            record._catch_up()
            return record
        except (KeyError, ValueError, TypeError) as error:
            if url is not None:
                raise
            raise damaged(folder / JOURNAL, f"({type(error).__name__}: {error})") from error

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The finished trials by number."""
        return tuple(self._finished[number] for number in sorted(self._finished))

    @property
    def elapsed_s(self) -> float:
        """Search time that the recorded part took, in seconds."""
        return max((trial.elapsed_s for trial in self._finished.values()), default=0.0)

    def begin(self, candidate: Candidate) -> int:
        """Creates the trial of a candidate that is about to be evaluated; returns its number.

        A trial that an earlier process left running is taken up again.
        """
        if candidate.digest not in self._running:
            self._running[candidate.digest] = self._add(candidate, TrialState.RUNNING, {})
        return self._running[candidate.digest]

    def reject(self, candidate: Candidate, elapsed_s: float) -> Trial:
        """Records a candidate that is not evaluated, because it violates a constraint as it is."""
        known = (candidate.values, candidate.violations, None, elapsed_s)
        trial = Trial(self._next, candidate.digest, candidate.genome, "rejected", *known)
        kept = {ELAPSED: elapsed_s, CHECKSUM: checksum_of(trial)}
        self._add(candidate, TrialState.PRUNED, kept)
        self._finished[trial.number] = trial
        return trial

    def finish(self, trial: Trial) -> None:
        """Records the result of a trial that was begun; it is on the disk when this returns.

        Raises:
            BitfrontError: It could not be written; what a database did not take is kept for the next time.
        """
        try:
            recorded(self._place, lambda: self._tell(trial))
        except BaseException:
            if self._unrecorded is not None:
                write_atomically(
                    self._unrecorded, json.dumps(dataclasses.asdict(trial), default=float) + "\n"
                )
            raise
        self._finished[trial.number] = trial
        self._running.pop(trial.digest, None)

    def _catch_up(self) -> None:
        """Records what the database did not take in the last part of the run."""
        if self._unrecorded is None or not self._unrecorded.exists():
            return
        document = read_json(self._unrecorded, dict)
        trial = Trial(**{**document, "genome": tuple(document["genome"])})
        if trial.number not in self._finished:
            self.finish(trial)
        self._unrecorded.unlink()

    @property
    def _next(self) -> int:
        return len(self._finished) + len(self._running)

    def _add(self, candidate: Candidate, state: TrialState, attributes: Mapping[str, Any]) -> int:
        number = self._next
        genes = zip(self._problem.space.genes, candidate.genome, strict=True)
        trial = create_trial(
            state=state,
            params={gene.name: gene.choices[index] for gene, index in genes},
            distributions=self._distributions,
            user_attrs={DIGEST: candidate.digest, **candidate.values, **attributes},
            constraints=dict(candidate.violations),
        )
        recorded(self._place, lambda: self._study.add_trial(trial))
        return number

    def _tell(self, trial: Trial) -> None:
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        handle = optuna.trial.Trial(self._study, trial_id)
        complete = trial.state == "complete"
        columns = [objective.column for objective in self._problem.objectives] if complete else []
        rest = {k: v for k, v in trial.values.items() if k not in columns and k not in handle.user_attrs}
        # One attribute for all: each one written is a line forced to the disk.
        known: dict[str, Any] = {RIGHT: trial.right} if trial.right else {}
        known |= {KNOWN: True} if trial.known else {}
        known |= {CHECKSUM: checksum_of(trial)}
        handle.set_user_attr(MEASURED, {**rest, **known, ELAPSED: trial.elapsed_s})
        if trial.error is not None:
            handle.set_user_attr(ERROR, trial.error)
        for name, violation in trial.violations.items():
            if name not in handle.constraints:
                handle.set_constraint(name, violation)
        if complete:
            self._study.tell(handle, [trial.values[column] for column in columns])
        else:
            state = TrialState.FAIL if trial.state == "failed" else TrialState.PRUNED
            self._study.tell(handle, state=state)


def _new_study(storage: BaseStorage, problem: SearchProblem, name: str | None = None) -> optuna.Study:
    directions = [_DIRECTIONS[objective.direction] for objective in problem.objectives]
    sampler = optuna.samplers.RandomSampler()
    return optuna.create_study(storage=storage, study_name=name, sampler=sampler, directions=directions)


def _describe(study: optuna.Study, problem: SearchProblem, spec: Mapping[str, Any]) -> None:
    """Writes into a new study what it is of."""
    _name_objectives(study, problem)
    study.set_user_attr(_SPEC, spec)


def _name_objectives(study: optuna.Study, problem: SearchProblem) -> None:
    """Writes the names after which optuna-dashboard calls its axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.column for objective in problem.objectives])


def _place(folder: Path, url: str | None) -> Path | str:
    return folder / JOURNAL if url is None else without_password(url)
