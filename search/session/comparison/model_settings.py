"""What a comparison of a model's assignments was asked for, kept in its folder so that it can go on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.export.selection import KNEE, choices
from bitfront.search.export.weights import read_weights
from bitfront.search.problem.spec import RunSpec
from bitfront.search.samplers.registry import (
    ABLATED_SAMPLER,
    DRAWS,
    GENERATIONS,
    SEARCHES,
    default_population,
)
from bitfront.search.session.comparison.searches import PlannedSearch
from bitfront.search.session.comparison.settings import read_settings, write_settings
from bitfront.spaces import UserError

WIDTHS = (4, 8)
SETTINGS = "settings.json"
FORM = "bitfront/model-comparison"


@dataclass(frozen=True)
class ModelSettings:
    """What is compared.

    Attributes:
        spec: Model, data and limits, the population, the evaluations of each search and the first seed.
        generations: Of each search.
        draws: Stochastic assignments beside each search.
        seeds: Searches.
        pick: The point of their fronts that is compared.
        random_weights: Whether the model has random weights, which makes it a dry run.
    """

    spec: RunSpec
    generations: int = GENERATIONS
    draws: int = DRAWS
    seeds: int = SEARCHES
    pick: str = KNEE
    random_weights: bool = False

    def __post_init__(self) -> None:
        """Takes the paper's problem and search for the spec: 4 or 8 bits for each encoder and kind, NSGA-II.

        Raises:
            UserError: There are no generations, or no searches, or the pick is no choice.
        """
        for option, number, least in (
            ("--generations", self.generations, 1),
            ("--draws", self.draws, 0),
            ("--seeds", self.seeds, 1),
        ):
            if number < least:
                raise UserError(f"{option} {number} is too small: give at least {least}")
        population = self.spec.population or default_population(ABLATED_SAMPLER)
        spec = dataclasses.replace(
            self.spec,
            evaluation=dataclasses.replace(self.spec.evaluation, widths=WIDTHS, formats=()),
            space="encoder-kind",
            allow_uniform=False,
            sampler=ABLATED_SAMPLER,
            population=population,
            evaluations=self.generations * population,
            time_budget=None,
            plateau=None,
        )
        object.__setattr__(self, "spec", spec)
        known = choices(task_named(spec.evaluation.task), spec.objectives)
        if "=" in self.pick:
            read_weights(self.pick, known[1:])
        elif self.pick not in known:
            raise UserError(
                f"--pick {self.pick!r} is no choice: pick {', '.join(known)} or weights such as top1=2,size=1"
            )

    @property
    def entries(self) -> list[PlannedSearch]:
        """The searches, by seed."""
        evaluations, population = self.spec.evaluations or 1, self.spec.population
        return [
            PlannedSearch(ABLATED_SAMPLER, self.spec.seed + place, evaluations, population)
            for place in range(self.seeds)
        ]

    def write(self, folder: Path) -> None:
        """Writes ``settings.json``."""
        further = {name: getattr(self, name) for name in _FURTHER}
        write_settings(folder / SETTINGS, FORM, {"spec": self.spec.to_json(), **further})

    @classmethod
    def read(cls, folder: Path) -> ModelSettings:
        """Reads ``settings.json``.

        Raises:
            UserError: It was written by another version.
            BitfrontError: It is damaged.
        """
        return read_settings(
            folder / SETTINGS,
            FORM,
            lambda known: cls(RunSpec.from_json(known["spec"]), **{name: known[name] for name in _FURTHER}),
        )


_FURTHER = tuple(field.name for field in dataclasses.fields(ModelSettings) if field.name != "spec")
