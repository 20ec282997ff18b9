"""Costs of configurations that need no evaluation: latency from a table, size of the packed file."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bitfront.spaces import BitConfig, SearchSpace, StructuralConstraint

if TYPE_CHECKING:
    from bitfront.evaluators.latency.table import TableLatency

Indices = tuple[int, ...]
# Genes with the same choices that take one together, and groups of them that are varied together.
Group = tuple[int, ...]
Move = tuple[Group, ...]


class Sizes(Protocol):
    """Sizes of a model's files at any configuration."""

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the file of a configuration, with all that belongs to it."""

    def float_bytes(self) -> int:
        """Bytes of the float model's."""


class FurtherCost(Protocol):
    """A cost beside latency and size, known without evaluating; lower is better."""

    @property
    def source(self) -> str:
        """Where its figures come from."""

    @property
    def float_value(self) -> float:
        """Of the float model."""

    def of(self, config: BitConfig) -> float:
        """Of a configuration."""

    def least(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        """The least of the configurations of a space that satisfy the rules."""


@dataclass(frozen=True, eq=False)
class ModelCosts:
    """The cost model of a quantized vision transformer.

    Attributes:
        latency: Latencies by table.
        size: Sizes of packed files, or of those of another format.
        further: Other costs that are asked for, by column.
    """

    latency: TableLatency
    size: Sizes
    further: Mapping[str, FurtherCost] = field(default_factory=dict)

    @property
    def latency_source(self) -> str:
        """Where latencies come from."""
        return self.latency.source

    @property
    def latency_noise(self) -> float:
        """Standard error of latencies as a share of them, such as 0.01; 0 where they are modelled."""
        return self.latency.noise

    @property
    def latency_batch(self) -> int:
        """Images of the batch that latencies are for."""
        return self.latency.table.batch

    @property
    def latency_threads(self) -> int:
        """Threads of the inference that latencies are for."""
        return self.latency.table.threads

    @property
    def float_latency_ms(self) -> float:
        """Latency of the float model, in milliseconds."""
        return self.latency.table.float_model.milliseconds

    @property
    def float_size_bytes(self) -> int:
        """Size of the float model's file."""
        return self.size.float_bytes()

    def latency_ms(self, config: BitConfig) -> float:
        """Latency of a batch, in milliseconds."""
        return self.latency.latency_ms(config)

    def size_bytes(self, config: BitConfig) -> int:
        """Size of the file, in bytes."""
        return self.size.size_bytes(config)

    def minimum_latency_ms(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        """The least latency of the configurations of a space that satisfy the rules."""
        return least_cost(space, self.latency_ms, rules)

    def minimum_size_bytes(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> int:
        """The least size of the configurations of a space that satisfy the rules.

        It is not that of the lowest widths: activations of few bits bring codebooks, and attention bases.
        """
        return int(least_cost(space, self.size_bytes, rules, separable=True))

    def maximum_size_bytes(self, space: SearchSpace) -> int:
        """The greatest size of any configuration of a space."""
        return -int(least_cost(space, lambda config: -self.size_bytes(config), separable=True))


def least_cost(
    space: SearchSpace,
    cost: Callable[[BitConfig], float],
    rules: Sequence[StructuralConstraint] = (),
    separable: bool = False,
) -> float:
    """The least cost of the configurations of a space that satisfy the rules.

    It is found for costs that are sums over encoders: sizes, to which every gene contributes by itself but
    for the digits of offsets in the file's header, and latencies, where the layers of an encoder are shares
    of one table of its widths. Where the least configuration breaks a rule, one change is the cheapest way to
    satisfy it: of a gene, of the genes of a layer, or of an encoder. Where no change does, the rule is left
    out of account.

    Args:
        space: The space.
        cost: Cost of a configuration; lower is better.
        rules: Constraints on configurations alone.
        separable: Whether every gene contributes by itself, so that fewer configurations need be looked at.
    """

    @functools.cache
    def config_of(genome: Indices) -> BitConfig:
        return space.decode(np.array(genome, dtype=np.int64))

    @functools.cache
    def cost_of(genome: Indices) -> float:
        return cost(config_of(genome))

    def broken(genome: Indices) -> bool:
        return any(rule.violation(config_of(genome)) > 0 for rule in rules)

    def variations(genome: Indices, moves: Iterable[Move]) -> Iterator[Indices]:
        """The genome with every combination of choices in the groups of genes of each move."""
        for groups in moves:
            for choice in itertools.product(*(range(space.sizes[group[0]]) for group in groups)):
                changed = list(genome)
                for group, index in zip(groups, choice, strict=True):
                    for gene in group:
                        changed[gene] = index
                yield tuple(changed)

    single: list[Move] = [((index,),) for index in range(len(space))]
    encoders, layers = _moves(space)
    least = (0,) * len(space)
    for groups in single if separable else encoders:
        least = min(variations(least, [groups]), key=cost_of)

    if broken(least):
        moves = single if separable else [*single, *layers, *encoders]
        others = [other for other in variations(least, moves) if not broken(other)]
        least = min(others, key=cost_of, default=least)
    return cost_of(least)


def _moves(space: SearchSpace) -> tuple[list[Move], list[Move]]:
    """The genes of each encoder, in groups by kind, and those of each layer, to be varied together."""
    encoders: dict[int, dict[str, set[int]]] = {}
    layers: dict[tuple[int, str], set[int]] = {}
    for index, gene in enumerate(space.genes):
        for slot in gene.slots:
            encoders.setdefault(slot.encoder, {}).setdefault(slot.kind, set()).add(index)
            layers.setdefault((slot.encoder, slot.layer), set()).add(index)
    by_kind = [
        tuple(dict.fromkeys(tuple(sorted(genes)) for genes in kinds.values())) for kinds in encoders.values()
    ]
    return by_kind, [tuple((index,) for index in sorted(genes)) for genes in layers.values()]
