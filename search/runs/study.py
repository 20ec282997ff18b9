"""The study: an Optuna study that records every trial of a run the moment it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from bitfront.evaluators.files import explained
from bitfront.search.problem.problem import Candidate, SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.trial import TrialState as State
from bitfront.search.runs.files import located, portable
from bitfront.search.runs.storage import JOURNAL, open_storage
from bitfront.spaces import BitfrontError, UserError

_SPEC, _DIGEST, _MEASURED, _ERROR, _ELAPSED = "spec", "digest", "measured", "error", "elapsed_s"
_RIGHT = "right"
_DIRECTIONS = {"minimise": StudyDirection.MINIMIZE, "maximise": StudyDirection.MAXIMIZE}
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "rejected",
}
# Optuna's pruned trials are candidates that were rejected, and those that were screened: these have values.
_SCREENED: State = "screened"


class StudyRecord:
    """Records trials in an Optuna study; one process writes, optuna-dashboard may read meanwhile.

    A trial is created, as running, in the order of asking and told when its result arrives, so its number
    depends on the seed alone. Genes are the parameters, objectives the values; digest, costs and ``measured``
    (all other measurements) are user attributes. Rejected and screened candidates are Optuna's pruned trials.

    Args:
        study: The study.
        storage: Where it is kept.
        problem: The space whose genes, and the objectives whose values, are recorded.
        path: What to name in messages about a failure to write.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, problem: SearchProblem, path: Path) -> None:
        self._study = study
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._problem = problem
        self._path = path
        widths: BaseDistribution = CategoricalDistribution(problem.space.widths)
        self._distributions = dict.fromkeys(problem.space.gene_names, widths)
        frozen = study.get_trials(deepcopy=False)
        self._finished = {t.number: self._read(t) for t in frozen if t.state.is_finished()}
        self._running = {str(t.user_attrs[_DIGEST]): t.number for t in frozen if not t.state.is_finished()}

    @classmethod
    def create(
        cls, folder: Path, name: str, spec: RunSpec, problem: SearchProblem, url: str | None
    ) -> StudyRecord:
        """Begins the study of a new run, in ``folder`` or in the database at ``url``.

        Raises:
            UserError: The database has a study of this name already, or the place is not writable.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(folder, url)
        try:
            with _recording(folder / JOURNAL):
                study = _new_study(storage, problem, name)
                study.set_user_attr(_SPEC, portable(spec.to_json(), folder))
        except optuna.exceptions.DuplicatedStudyError as error:
            raise UserError(
                f"the storage has a study {name!r} already: go on with --resume {name}, or choose "
                "another --run"
            ) from error
        return cls(study, storage, problem, folder / JOURNAL)

    @classmethod
    def in_memory(cls, problem: SearchProblem) -> StudyRecord:
        """A record that ends with this process, for searches whose evaluations are kept elsewhere."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        return cls(_new_study(storage, problem), storage, problem, Path("memory"))

    @classmethod
    def open(
        cls, folder: Path, name: str, spec: RunSpec, problem: SearchProblem, url: str | None
    ) -> StudyRecord:
        """Opens the study of an earlier run, to go on with it; its budgets become those of ``spec``.

        Raises:
            UserError: There is none, or it was written with other settings or by another version.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if url is None and not (folder / JOURNAL).exists():
            raise UserError(f"{folder} has no {JOURNAL}: give the run's --storage URL, or start a new run")
        storage = open_storage(folder, url)
        try:
            study = optuna.load_study(
                storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler()
            )
        except KeyError as error:
            if url is None:  # the process was killed before its journal had one
                return cls.create(folder, name, spec, problem, url)
            raise UserError(
                f"the storage has no study {name!r}: start a new run with --run {name}"
            ) from error
        ours = study.directions == [_DIRECTIONS[o.direction] for o in problem.objectives]
        if ours and not study.user_attrs and not study.get_trials(deepcopy=False):
            # The process was killed between the study's creation and its first attribute.
            with _recording(folder / JOURNAL):
                study.set_user_attr(_SPEC, portable(spec.to_json(), folder))
        if _SPEC not in study.user_attrs:
            raise BitfrontError(f"study {name!r} was not written by bitfront: start a new run with --run")
        RunSpec.from_json(located(study.user_attrs[_SPEC], folder)).check_resumed_as(spec, name)
        with _recording(folder / JOURNAL):
            if study.user_attrs[_SPEC] != portable(spec.to_json(), folder):
                study.set_user_attr(_SPEC, portable(spec.to_json(), folder))
        return cls(study, storage, problem, folder / JOURNAL)

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
        number = self._add(candidate, TrialState.PRUNED, {_ELAPSED: elapsed_s})
        known = (candidate.values, candidate.violations, None, elapsed_s)
        trial = Trial(number, candidate.digest, candidate.genome, "rejected", *known)
        self._finished[number] = trial
        return trial

    def finish(self, trial: Trial) -> None:
        """Records the result of a trial that was begun; it is on the disk when this returns."""
        with _recording(self._path):
            self._tell(trial)
        self._finished[trial.number] = trial
        self._running.pop(trial.digest, None)

    def _add(self, candidate: Candidate, state: TrialState, attributes: Mapping[str, Any]) -> int:
        number = len(self._finished) + len(self._running)
        widths = self._problem.space.widths
        genes = zip(self._problem.space.gene_names, candidate.genome, strict=True)
        trial = create_trial(
            state=state,
            params={name: widths[index] for name, index in genes},
            distributions=self._distributions,
            user_attrs={_DIGEST: candidate.digest, **candidate.values, **attributes},
            constraints=dict(candidate.violations),
        )
        with _recording(self._path):
            self._study.add_trial(trial)
        return number

    def _tell(self, trial: Trial) -> None:
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        handle = optuna.trial.Trial(self._study, trial_id)
        complete = trial.state == "complete"
        columns = [objective.column for objective in self._problem.objectives] if complete else []
        rest = {k: v for k, v in trial.values.items() if k not in columns and k not in handle.user_attrs}
        # One attribute for all: each one written is a line forced to the disk.
        known = {_RIGHT: trial.right} if trial.right else {}
        handle.set_user_attr(_MEASURED, {**rest, **known, _ELAPSED: trial.elapsed_s})
        if trial.error is not None:
            handle.set_user_attr(_ERROR, trial.error)
        for name, violation in trial.violations.items():
            if name not in handle.constraints:
                handle.set_constraint(name, violation)
        if complete:
            self._study.tell(handle, [trial.values[column] for column in columns])
        else:
            state = TrialState.FAIL if trial.state == "failed" else TrialState.PRUNED
            self._study.tell(handle, state=state)

    def _read(self, frozen: FrozenTrial) -> Trial:
        space, attributes = self._problem.space, dict(frozen.user_attrs)
        digest, error = str(attributes.pop(_DIGEST)), attributes.pop(_ERROR, None)
        measured = attributes.pop(_MEASURED, {})
        attributes |= measured
        elapsed, right = float(attributes.pop(_ELAPSED, 0.0)), str(attributes.pop(_RIGHT, ""))
        if frozen.state is TrialState.COMPLETE:
            pairs = zip(self._problem.objectives, frozen.values, strict=True)
            attributes |= {objective.column: value for objective, value in pairs}
        genome = tuple(space.widths.index(frozen.params[name]) for name in space.gene_names)
        names = [name for name in self._problem.constraint_names if name in frozen.constraints]
        violations = {name: frozen.constraints[name] for name in names}
        state = _SCREENED if frozen.state is TrialState.PRUNED and measured else _STATES[frozen.state]
        return Trial(frozen.number, digest, genome, state, attributes, violations, error, elapsed, right)


def _new_study(storage: BaseStorage, problem: SearchProblem, name: str | None = None) -> optuna.Study:
    directions = [_DIRECTIONS[objective.direction] for objective in problem.objectives]
    sampler = optuna.samplers.RandomSampler()
    return optuna.create_study(storage=storage, study_name=name, sampler=sampler, directions=directions)


@contextmanager
def _recording(path: Path) -> Iterator[None]:
    """Turns failures to write the record into the project's errors."""
    try:
        with explained(path):
            yield
    except optuna.exceptions.StorageInternalError as error:
        raise BitfrontError(
            f"the database of the study cannot be written ({error}); what was recorded is safe: mend that, "
            "then go on with --resume"
        ) from error
