"""Genes that cannot pay: no narrower width of theirs saves anything that counts, so they are not searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitfront.search.problem.objectives import NEGLIGIBLE, USUAL_COLUMNS, cost_of_column
from bitfront.search.problem.problem import SearchProblem, cost_of, least_of
from bitfront.spaces import KINDS, FormatName, SearchSpace
from bitfront.spaces.formats import titled

Indices = tuple[int, ...]
# Genes of one kind in one encoder, and the indices of widths that are worth searching, group by group.
Group = tuple[int, ...]
Left = list[set[int]]
LATENCY, SIZE = USUAL_COLUMNS
# Standard errors of a difference of latencies: what is less is no difference. Times so noisy that a larger
# share would be none say nothing.
LATENCY_ERRORS, LATENCY_SHARE = 2.0, 0.1
# Of a cost, by which rounding changes it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class KeptGenes:
    """Genes that are not searched because nothing narrower pays.

    Attributes:
        bits: Their format by name.
        note: One line that says so with the figures; empty where there is nothing to say.
    """

    bits: Mapping[str, FormatName]
    note: str = ""


def genes_to_keep(problem: SearchProblem) -> KeptGenes:
    """Finds the genes of which no narrower width saves anything that counts.

    A width of a kind in an encoder saves nothing where it costs at least as much as the widest one in every
    cost that counts and in every combination with widths of the encoder's other kinds, save those that are
    known to save nothing themselves. A cost counts that is an objective, or of which something that is left
    has more than a limit allows. What is within the noise of latencies or below a thousandth of the size,
    both of an encoder, is no difference.

    Where one narrower choice saves something the kind is searched at all of them. Costs are taken to be sums
    over encoders, to which layers contribute alike: they have shares of one table of latencies, so that a
    kind saves most where all its layers are narrow.

    Args:
        problem: With all genes searched.

    Returns:
        The genes with the widest width. None of them where that would leave nothing to search, which the note
        says, or nothing within a limit that is nearer to the least of the space than what is no difference.
    """
    space, prices = problem.space, _Prices(problem)
    columns, short = prices.traded, list(prices.traded)
    left: Left = []
    # An accuracy alone is traded off against nothing: whoever asks for it searches what there is.
    while short:
        left = _worth_searching(prices, columns)
        short = prices.limited(left, columns)
        columns = [*columns, *short]
    kept = [genes for genes, widths in zip(prices.groups, left, strict=False) if len(widths) == 1]
    if left and len(kept) == len(prices.groups):
        return KeptGenes({}, prices.nothing_saves(columns))
    names = space.gene_names
    bits = {names[gene]: space.genes[gene].choices[-1] for gene in sorted(itertools.chain(*kept))}
    return kept_at_widest(problem, bits) if _achievable(problem, space.keeping(bits)) else KeptGenes({})


def kept_at_widest(problem: SearchProblem, bits: Mapping[str, FormatName]) -> KeptGenes:
    """Genes that are known to be kept, with what narrower ones would cost.

    Args:
        problem: With all genes searched.
        bits: The widest choice by name of the gene.
    """
    if not bits:
        return KeptGenes({})
    prices, names = _Prices(problem), problem.space.gene_names
    left = [
        {prices.widest(group)} if names[genes[0]] in bits else set(range(prices.widest(group) + 1))
        for group, genes in enumerate(prices.groups)
    ]
    columns = [*prices.traded, *prices.limited(left, prices.traded)]
    return KeptGenes(bits, prices.what_narrower_costs(bits, columns))


def _worth_searching(prices: _Prices, columns: Sequence[str]) -> Left:
    """The widths of each group without those that save nothing."""
    groups = range(len(prices.groups))
    left = [set(range(prices.widest(group) + 1)) for group in groups]
    narrow = [(group, width) for group in groups for width in range(prices.widest(group))]
    dropped = True
    while dropped:
        dropped = False
        for group, width in narrow:
            if width in left[group] and not prices.saves(group, width, left, columns):
                left[group].remove(width)
                dropped = True
    return left


def _achievable(problem: SearchProblem, space: SearchSpace) -> bool:
    """Whether each limit of costs can be met by some configuration of a part of the space."""
    cost, rules = problem.cost, problem.structural
    least = {column: least_of(cost, column, space, rules) for column in problem.priced}
    return all(limit.violation_of(least[limit.column]) <= 0.0 for limit in problem.limits if limit.analytic)


class _Prices:
    """Costs of single genomes, each found once.

    Args:
        problem: With all genes searched.

    Attributes:
        space: Its space.
        groups: Genes that are narrowed together.
        wide: The genome of the widest width throughout.
        traded: Columns of the costs that are objectives.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._known: dict[tuple[str, Indices], float] = {}
        self.space = problem.space
        self.wide = self.space.widest
        grouped: dict[tuple[int, str], list[int]] = {}
        for index, gene in enumerate(self.space.genes):
            grouped.setdefault((gene.slots[0].encoder, gene.slots[0].kind), []).append(index)
        self.groups: list[Group] = [tuple(genes) for genes in grouped.values()]
        self.traded = [
            column
            for column in problem.priced
            if column in {objective.column for objective in problem.objectives}
        ]
        errors = LATENCY_ERRORS * math.sqrt(2.0) * problem.cost.latency_noise
        # Of a cost: what is less is no difference.
        noise = min(max(errors, _ROUNDING), LATENCY_SHARE)
        self._shares = {**dict.fromkeys(problem.priced, NEGLIGIBLE), LATENCY: noise}

    def widest(self, group: int) -> int:
        """The index of the widest choice of a group, whose genes have the same."""
        return self.wide[self.groups[group][0]]

    def limited(self, left: Left, known: Sequence[str]) -> list[str]:
        """Columns beside those known of which some configuration has more than a limit allows."""
        return [
            column
            for column in self._problem.priced
            if column not in known
            and any(
                limit.column == column and limit.violation_of(self._most(column, left)) > 0.0
                for limit in self._problem.limits
            )
        ]

    def saves(self, group: int, width: int, left: Left, columns: Sequence[str]) -> bool:
        """Whether a width of a group costs less than its widest in some combination with what others have."""
        encoders = len(self.space.encoders)
        return any(
            self.of(column, genome) - self.of(column, _with(genome, self.groups[group], width))
            > self._tolerance(column) / encoders
            for genome in self._combinations(group, left)
            for column in columns
        )

    def what_narrower_costs(self, bits: Mapping[str, FormatName], columns: Sequence[str]) -> str:
        """What the model costs with genes at the best of the narrower widths, and with them at the widest."""
        space = self.space
        genes = [index for index, name in enumerate(space.gene_names) if name in bits]
        steps = range(max(self.wide[gene] for gene in genes))
        narrow = [_narrowed(self.wide, genes, step) for step in steps]
        best = min(narrow, key=lambda genome: [self.of(column, genome) for column in columns])
        found = {slot.kind for gene in genes for slot in space.genes[gene].slots}
        kinds = "widths" if space.granularity == "encoder" else _listed([k for k in KINDS if k in found])
        wide, lower = (
            titled(space.genes[gene].choices[genome[gene]] for gene in genes) for genome in (self.wide, best)
        )
        return (
            f"{kinds} are kept at {wide} in {len(genes)} of {len(space)} genes: at {lower} the model "
            f"{self._compared(best, columns)}; --all-genes searches them, too"
        )

    def nothing_saves(self, columns: Sequence[str]) -> str:
        """What to say where no gene pays."""
        usual = {LATENCY: "time", SIZE: "bytes"}
        named = _listed([usual.get(column) or cost_of_column(column).name for column in columns], "or")
        ends = {gene.choices[-1] for gene in self.space.genes}
        widest = ends.pop()
        if ends or not isinstance(widest, int):
            return (
                f"no format narrower than the widest saves {named}, so that the model in the widest formats "
                "is as good as any; all genes are searched all the same"
            )
        return (
            f"no width below {widest} bits saves {named}, so that the uniform {widest}-bit model is as good "
            "as any; all genes are searched all the same"
        )

    def of(self, column: str, genome: Indices) -> float:
        """A cost of a genome."""
        key = column, genome
        if key not in self._known:
            config = self._problem.space.decode(np.array(genome, dtype=np.int64))
            self._known[key] = float(cost_of(self._problem.cost, column, config))
        return self._known[key]

    def _compared(self, genome: Indices, columns: Sequence[str]) -> str:
        """Costs of a genome beside those of the widest, in words."""
        words = []
        for column in columns:
            there, here = self.of(column, genome), self.of(column, self.wide)
            if column == LATENCY:
                same = abs(there - here) <= self._tolerance(column)
                words.append("takes as long" if same else f"takes {there:.4g} ms instead of {here:.4g}")
            elif column != SIZE:
                words.append(_further_compared(column, there, here))
            elif there == here:
                words.append("has as many bytes")
            else:
                words.append(f"has {abs(there - here):,.0f} bytes {'more' if there > here else 'less'}")
        return _listed(words)

    def _tolerance(self, column: str) -> float:
        return self._shares[column] * self.of(column, self.wide)

    def _most(self, column: str, left: Left) -> float:
        """The most that any configuration of what is left costs: encoders add up."""
        whole = self.of(column, self.wide)
        first = {self._encoder(group): group for group in reversed(range(len(self.groups)))}
        return whole + sum(
            max(
                self.of(column, _with(genome, self.groups[group], width))
                for genome in self._combinations(group, left)
                for width in left[group]
            )
            - whole
            for group in first.values()
        )

    def _combinations(self, group: int, left: Left) -> Iterator[Indices]:
        """Genomes at the widest, but for the encoder's other groups, which take each width they have left."""
        encoder = self._encoder(group)
        others = [i for i in range(len(self.groups)) if i != group and self._encoder(i) == encoder]
        for chosen in itertools.product(*(sorted(left[other]) for other in others)):
            genome = self.wide
            for other, width in zip(others, chosen, strict=True):
                genome = _with(genome, self.groups[other], width)
            yield genome

    def _encoder(self, group: int) -> int:
        return self.space.genes[self.groups[group][0]].slots[0].encoder


def _further_compared(column: str, there: float, here: float) -> str:
    """What the model needs of another cost at the widths there instead of those here."""
    cost = cost_of_column(column)
    if there == here:
        return f"needs as much {cost.name}"
    return f"needs {there:.4g} {cost.unit} of {cost.name} instead of {here:.4g}"


def _with(genome: Indices, genes: Sequence[int], width: int) -> Indices:
    changed = list(genome)
    for gene in genes:
        changed[gene] = width
    return tuple(changed)


def _narrowed(wide: Indices, genes: Sequence[int], step: int) -> Indices:
    """The widest genome with genes at a choice of theirs that is narrower."""
    changed = list(wide)
    for gene in genes:
        changed[gene] = min(step, wide[gene] - 1)
    return tuple(changed)


def _listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
