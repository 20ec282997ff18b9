"""A new search that begins with the evaluations of an earlier run: its settings, and what it takes over."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from bitfront.evaluators.latency.registry import LATENCY_LOAD
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import EXTENDABLE, RunSpec
from bitfront.search.runs.folder import GENE_SCORES, SPECTRAL_SCORES, SPLITS, RunFolder, read_space
from bitfront.search.runs.known_evaluations import KnownEvaluation, evaluations_of, read_known, write_known
from bitfront.search.session.inputs import LATENCY_TABLE
from bitfront.spaces import SearchSpace, UserError
from bitfront.spaces.quantities import count_of

Genome = tuple[int, ...]


def spec_begun_from(origin: RunFolder, changes: Mapping[str, Any]) -> tuple[RunSpec, list[str]]:
    """The spec of a search that begins with an earlier run: that run's, with some settings of its own.

    Everything that decides what an evaluation is worth stays: model, data, splits, recipe, metrics. Budgets
    start again. A ``max_latency`` of the earlier run is left out where latencies come from another source.

    Args:
        origin: The earlier run's folder.
        changes: Fields of the spec, not of its ``evaluation``, that take other values.

    Returns:
        The spec, and what its user must know.

    Raises:
        UserError: An objective or limit needs a metric that the earlier run did not measure.
    """
    recorded, notes = origin.read_spec(), []
    changes = {**dict.fromkeys(EXTENDABLE), **changes}
    if {"latency", *LATENCY_LOAD} & changes.keys():
        changes = {**dict.fromkeys(LATENCY_LOAD), **changes}
        if recorded.max_latency is not None and "max_latency" not in changes:
            notes.append(
                f"--max-latency {recorded.max_latency} of run {origin.name} was for {recorded.latency} and "
                "is left out: give it again for these latencies"
            )
            changes["max_latency"] = None
    if changes.get("sampler", recorded.sampler) != recorded.sampler:
        changes.setdefault("population", None)
    # As many images as it had, whatever a limit of this one would take.
    splits = origin.read_json(SPLITS)
    images = dataclasses.replace(recorded.evaluation, search_images=len(splits["search"]))
    found = dataclasses.replace(recorded, evaluation=images, begun_from=origin.name, **changes)
    further = sorted(set(found.evaluation.metrics) - set(recorded.evaluation.metrics))
    if further:
        raise UserError(
            f"run {origin.name} has not measured {', '.join(further)}: leave it out, or search without --from"
        )
    return found, notes


def take_over(origin: RunFolder, folder: RunFolder, spec: RunSpec, same_latencies: bool) -> None:
    """Puts what an earlier run evaluated into the folder of a new one.

    Args:
        origin: The earlier run's folder.
        folder: The new one's.
        spec: The earlier run's.
        same_latencies: Whether its latency table is taken over, too.
    """
    write_known(folder, evaluations_of(origin.path, spec))
    names = [SPLITS, GENE_SCORES, SPECTRAL_SCORES, *([LATENCY_TABLE] if same_latencies else [])]
    for name in names:
        if (origin.path / name).exists():
            shutil.copyfile(origin.path / name, folder.path / name)


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a search knows before its first own evaluation.

    Attributes:
        run: Name of the run that it is from; empty where there is none.
        known: What that run evaluated.
        batches: Genomes of these in the space that is searched now: those that saw all images, then those
            that were given up early.
        elsewhere: How many are no genomes of this space.
    """

    run: str
    known: tuple[KnownEvaluation, ...]
    batches: tuple[tuple[Genome, ...], ...]
    elsewhere: int

    @classmethod
    def of(cls, folder: RunFolder, spec: RunSpec, space: SearchSpace, images: int) -> Beginning:
        """What lies in a run folder.

        Args:
            folder: The run's.
            spec: The run's.
            space: What is searched.
            images: Of the search split.
        """
        known, elsewhere = read_known(folder.path), 0
        whole, part = list[Genome](), list[Genome]()
        for evaluation in known:
            try:
                genome = tuple(int(index) for index in space.encode(evaluation.config))
            except UserError:
                elsewhere += 1
                continue
            (whole if evaluation.quality.images >= images else part).append(genome)
        batches = tuple(tuple(batch) for batch in (whole, part) if batch)
        return cls(spec.begun_from or "", known, batches, elsewhere)

    def paid(self, problem: SearchProblem) -> int:
        """How many of them are within the limits that need no evaluation: each is an evaluation."""
        genomes = dict.fromkeys(genome for batch in self.batches for genome in batch)
        return sum(problem.prepare(genome).admissible for genome in genomes)

    def told(self, problem: SearchProblem) -> list[str]:
        """What of an earlier run is of use here."""
        if not self.known:
            return []
        paid, count = self.paid(problem), sum(map(len, self.batches))
        parts = [f"beginning with {paid} of the {count_of(len(self.known), 'evaluation')} of run {self.run}"]
        if count > paid:
            parts.append(f"{count - paid} are outside the limits here")
        if self.elsewhere:
            parts.append(
                f"{self.elsewhere} have narrow widths in genes that are not searched here (--all-genes "
                "searches them)"
            )
        return ["; ".join(parts)]


def genes_that_pay(space: SearchSpace, origin: RunFolder) -> list[str]:
    """Which genes are searched in one of two runs alone, in words.

    Args:
        space: Of the new run.
        origin: The earlier run's folder.
    """
    before = read_space(origin.path)
    new = _kinds([name for name in space.gene_names if name not in before.gene_names])
    gone = _kinds([name for name in before.gene_names if name not in space.gene_names])
    words = []
    if new:
        words.append(f"{new}: narrower widths pay here, and run {origin.name} did not search them")
    if gone:
        words.append(f"{gone}: narrower widths save nothing here, and run {origin.name} searched them")
    return words


def _kinds(names: Sequence[str]) -> str:
    """Genes in words, by kind."""
    counts: dict[str, int] = {}
    for name in names:
        last = name.rpartition(".")[2]
        kind = last if last in ("weights", "activations", "attention") else "widths"
        counts[kind] = counts.get(kind, 0) + 1
    return " and ".join(f"{kind} of {count_of(count, 'gene')}" for kind, count in counts.items())
