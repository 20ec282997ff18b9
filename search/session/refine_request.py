"""What a refinement was asked for, as it is kept until the refinement has ended, and where its files are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import explained, write_atomically
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.runs.refined import record_of
from bitfront.spaces import BitConfig, UserError

FORMAT, VERSION = "bitfront/refine-request", 1
REQUEST, LEARNED = "request.json", "learned.safetensors"
_DAMAGE = (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class RefineRequest:
    """What is refined, on what and how.

    Attributes:
        evaluation: Model, data and quantization.
        config: The configuration.
        learning: How it is learned.
        images: Images to learn from; None for all that no split has, within bounds.
        data: Where further images come from; None for what the splits leave.
        trial: Number of the trial that the configuration is; None where it is of no run.
        metric: Name of the metric that refining must not make worse.
    """

    evaluation: EvaluationSpec
    config: BitConfig
    learning: RefinementSpec
    images: int | None
    data: str | None
    trial: int | None
    metric: str

    def to_json(self) -> dict[str, Any]:
        """The request as JSON has it."""
        parts = {name: getattr(self, name).to_json() for name in ("evaluation", "config", "learning")}
        return {"format": FORMAT, "version": VERSION, **vars(self), **parts}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RefineRequest:
        """The inverse of :meth:`to_json`; raises what ``_DAMAGE`` has, or UserError, where it is none."""
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is no {FORMAT} of version {VERSION}")
        numbers = {name: document[name] for name in ("images", "trial")}
        return cls(
            EvaluationSpec.from_json(document["evaluation"]),
            BitConfig.from_json(document["config"]),
            RefinementSpec.from_json(document["learning"]),
            data=None if document["data"] is None else str(document["data"]),
            metric=str(document["metric"]),
            **{name: None if value is None else int(value) for name, value in numbers.items()},
        )


@dataclass(frozen=True)
class RefinePlace:
    """Where a refinement is kept.

    Attributes:
        file: What was learned, when it has ended and helped; its record lies beside it.
        state: A folder for as long as it has not ended.
    """

    file: Path
    state: Path

    @property
    def begun(self) -> bool:
        """Whether there is a refinement to go on with."""
        return (self.state / REQUEST).is_file()

    def begin(self, request: RefineRequest) -> None:
        """Keeps a request, in place of another one."""
        self.clear()
        with explained(self.state):
            self.state.mkdir(parents=True)
        write_atomically(self.state / REQUEST, json.dumps(request.to_json(), indent=2) + "\n")

    def request(self) -> RefineRequest:
        """What was asked for.

        Raises:
            UserError: There is nothing to go on with, or it is damaged.
        """
        path = self.state / REQUEST
        if not self.begun:
            raise UserError(f"there is no refinement to go on with in {self.state.parent}: begin one")
        try:
            return RefineRequest.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (UserError, *_DAMAGE) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}): remove {self.state} and refine again"
            ) from error

    def clear(self) -> None:
        """Removes what a refinement that has not ended left."""
        with explained(self.state):
            shutil.rmtree(self.state, ignore_errors=True)

    def forget(self) -> None:
        """Removes a refinement that is replaced; the record first, by which it is known."""
        with explained(self.file):
            record_of(self.file).unlink(missing_ok=True)
            self.file.unlink(missing_ok=True)
