"""The samplers by name."""

from __future__ import annotations

from bitfront.search.problem import SearchProblem
from bitfront.search.samplers.sampler import Sampler
from bitfront.spaces import UserError

SAMPLERS = ("nsga2", "random")


def check_sampler(name: str) -> None:
    """Raises :class:`UserError` for an unknown sampler, without loading one."""
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler {name!r}: choose one of {', '.join(SAMPLERS)}")


def make_sampler(name: str, problem: SearchProblem, population: int, seed: int) -> Sampler:
    """The sampler of a name.

    Raises:
        UserError: The name is unknown, or the population is smaller than two.
    """
    check_sampler(name)
    if population < 2:
        raise UserError(f"--population {population} is too small: give at least 2")
    if name == "random":
        from bitfront.search.samplers.random_search import RandomSearch

        return RandomSearch(problem.space, population, seed)
    from bitfront.search.samplers.nsga2 import Nsga2Sampler

    return Nsga2Sampler(problem, population, seed)
