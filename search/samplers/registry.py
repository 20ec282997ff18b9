"""The samplers by name, with what each is and how many candidates it proposes at a time by default."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bitfront.search.samplers.known_scores import GRADIENT, SPECTRAL, KnownScores
from bitfront.spaces.plugins import Plugin, plugins

if TYPE_CHECKING:
    from bitfront.search.engine.protocols import Sampler
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.spaces import SearchSpace


SURROGATE = "surrogate-nsga2"
# Of a search that was given no number.
DEFAULT_EVALUATIONS = 100
# With the surrogate, where so few genes are searched at most; docs/results.md has what they are worth.
FEW_GENES, FEW_EVALUATIONS = 12, 40
# Those that a comparison lines up unless told otherwise, and how often each of them searches.
COMPARED_SAMPLERS = (SURROGATE, "nsga2", "random", "optuna-tpe", "optuna-nsga2")
COMPARED_SEEDS = 3
# A comparison of assignments: what searches, its generations, random assignments beside it, searches.
ABLATED_SAMPLER, GENERATIONS, DRAWS, SEARCHES = "nsga2", 20, 10, 1
# Candidates that samplers of other packages propose at a time unless told otherwise.
_PLUGGED_POPULATION = 8


@dataclass(frozen=True)
class SamplerKind:
    """A sampler as the user chooses it.

    Attributes:
        summary: What it is, in a few words.
        population: Candidates it proposes at a time unless told otherwise.
        make: Makes one of a problem, candidates proposed at a time, a seed and what is known of genes.
        begins_with: Names of the sensitivities of genes that it begins with.
    """

    summary: str
    population: int
    make: Callable[[SearchProblem, int, int, KnownScores], Sampler]
    begins_with: tuple[str, ...] = ()


def _surrogate(problem: SearchProblem, count: int, seed: int, scores: KnownScores) -> Sampler:
    from bitfront.search.samplers.surrogate.sampler import SurrogateSampler

    return SurrogateSampler(problem, count, seed, scores.gradient)


def _nsga2(problem: SearchProblem, count: int, seed: int, _: KnownScores) -> Sampler:
    from bitfront.search.samplers.nsga2 import Nsga2Sampler

    return Nsga2Sampler(problem, count, seed)


def _random(problem: SearchProblem, count: int, seed: int, _: KnownScores) -> Sampler:
    from bitfront.search.samplers.random_search import RandomSearch

    return RandomSearch(problem, count, seed)


def _exhaustive(problem: SearchProblem, count: int, seed: int, _: KnownScores) -> Sampler:
    from bitfront.search.samplers.exhaustive import ExhaustiveSearch

    return ExhaustiveSearch(problem, count, seed)


def _progressive(problem: SearchProblem, count: int, seed: int, scores: KnownScores) -> Sampler:
    from bitfront.search.samplers.progressive import ProgressiveSampler

    return ProgressiveSampler(problem, count, seed, scores)


def _thresholds(problem: SearchProblem, count: int, seed: int, scores: KnownScores) -> Sampler:
    from bitfront.search.samplers.thresholds import ThresholdsSampler

    return ThresholdsSampler(problem, count, seed, scores)


def _optuna(name: str, summary: str, population: int) -> SamplerKind:
    def make(problem: SearchProblem, count: int, seed: int, _: KnownScores) -> Sampler:
        from bitfront.search.samplers.optuna_sampler import OptunaSampler

        return OptunaSampler(name, problem, count, seed)

    return SamplerKind(summary, population, make)


def _plugged(plugin: Plugin) -> SamplerKind:
    """A sampler of another package: a class, or a function, of a problem, a population and a seed."""

    def make(problem: SearchProblem, count: int, seed: int, _: KnownScores) -> Sampler:
        return cast("Sampler", plugin.load_callable()(problem, count, seed))

    return SamplerKind(f"of package {plugin.package}", _PLUGGED_POPULATION, make)


_OWN: dict[str, SamplerKind] = {
    SURROGATE: SamplerKind("NSGA-II on a surrogate of what evaluations cost", 4, _surrogate, (GRADIENT,)),
    "nsga2": SamplerKind("NSGA-II (Deb et al. 2002), a whole generation at a time", 32, _nsga2),
    "progressive": SamplerKind(
        "part by part, sensitive layers sent back (VQ-ViT)", 4, _progressive, (SPECTRAL,)
    ),
    "thresholds": SamplerKind("thresholds on spectral sensitivities alone", 8, _thresholds, (SPECTRAL,)),
    "random": SamplerKind("uniform draws without repeats", 32, _random),
    "exhaustive": SamplerKind("every configuration of a small space", 32, _exhaustive),
    "optuna-tpe": _optuna("tpe", "Optuna's tree-structured Parzen estimator", 4),
    "optuna-nsga2": _optuna("nsga2", "Optuna's NSGA-II", 32),
    "optuna-gp": _optuna("gp", "Optuna's Gaussian processes with expected hypervolume improvement", 4),
}
# Those of other packages do not take the place of one of these.
SAMPLERS = {
    **_OWN,
    **{name: _plugged(found) for name, found in plugins("bitfront.samplers").items() if name not in _OWN},
}


def check_sampler(name: str) -> None:
    """Raises :class:`UserError` for an unknown sampler, without loading one."""
    from bitfront.spaces.errors import UserError

    if name not in SAMPLERS:
        raise UserError(f"unknown sampler {name!r}: choose one of {', '.join(SAMPLERS)}")


def default_population(name: str) -> int:
    """How many candidates a sampler proposes at a time unless told otherwise.

    Raises:
        UserError: The name is unknown.
    """
    check_sampler(name)
    return SAMPLERS[name].population


def scores_of(samplers: Iterable[str]) -> frozenset[str]:
    """Names of the sensitivities of genes that some of the samplers begin with."""
    return frozenset(name for sampler in samplers for name in SAMPLERS[sampler].begins_with)


def default_evaluations(name: str, space: SearchSpace) -> int:
    """Evaluations of a search that was given no number.

    All of the space for ``exhaustive``, and fewer than usual for the surrogate where there are few genes.

    Raises:
        UserError: The name is unknown, or the space has too many configurations to try one by one.
    """
    check_sampler(name)
    if name != "exhaustive":
        few = name == SURROGATE and len(space) <= FEW_GENES
        return FEW_EVALUATIONS if few else DEFAULT_EVALUATIONS
    from bitfront.search.samplers.exhaustive import check_exhaustible

    check_exhaustible(space)
    return space.cardinality


def make_sampler(
    name: str, problem: SearchProblem, population: int | None, seed: int, scores: KnownScores | None = None
) -> Sampler:
    """The sampler of a name.

    Args:
        name: One of :data:`SAMPLERS`.
        problem: What is searched.
        population: Candidates proposed at a time; None for the sampler's own default.
        seed: Seed of everything random.
        scores: Sensitivities of the genes, for samplers that begin with them; None where none are known.

    Raises:
        UserError: The name is unknown, the population is smaller than two, or the space is too large to be
            exhausted.
    """
    from bitfront.spaces.errors import UserError

    check_sampler(name)
    size = SAMPLERS[name].population if population is None else population
    if size < 2:
        raise UserError(f"--population {size} is too small: give at least 2")
    return SAMPLERS[name].make(problem, size, seed, scores or KnownScores())
