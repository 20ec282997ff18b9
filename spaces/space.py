"""Search spaces: how a genome of choices becomes a bit configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bitfront.spaces.choices import Choices
from bitfront.spaces.config import BitConfig, EncoderBits, collapse
from bitfront.spaces.errors import UserError
from bitfront.spaces.formats import FormatName, in_order, titled
from bitfront.spaces.sites import KINDS, EncoderLayers, Kind

if TYPE_CHECKING:  # numpy is loaded where genomes are made: the help of the command line has no use for it
    import numpy as np
    from numpy.typing import NDArray

Granularity = Literal["encoder", "encoder-kind", "layer"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
Genome: TypeAlias = "NDArray[np.int64]"
ATTENTION_LAYER = "attn"


@dataclass(frozen=True)
class Slot:
    """One tensor whose format a gene sets: a kind, at a layer of an encoder."""

    encoder: int
    kind: Kind
    layer: str


@dataclass(frozen=True)
class Gene:
    """One choice of a genome: a named format that all its slots share.

    Attributes:
        name: Such as ``encoder03.weights``.
        slots: What it sets.
        choices: The formats that it may take, narrow to wide.
    """

    name: str
    slots: tuple[Slot, ...]
    choices: tuple[FormatName, ...]


def _slots(encoder: EncoderLayers) -> list[Slot]:
    weights = [Slot(encoder.index, "weights", layer) for layer in encoder.linear]
    activations = [Slot(encoder.index, "activations", layer) for layer in encoder.linear]
    return [*weights, *activations, Slot(encoder.index, "attention", ATTENTION_LAYER)]


def _gene_name(granularity: Granularity, slot: Slot) -> str:
    encoder = f"encoder{slot.encoder:02d}"
    if granularity == "encoder":
        return encoder
    if granularity == "encoder-kind" or slot.kind == "attention":
        return f"{encoder}.{slot.kind}"
    return f"{encoder}.{slot.layer}.{slot.kind}"


class SearchSpace:
    """All assignments of the allowed number formats at one granularity.

    A genome is an int64 vector of shape ``[genes]`` with indices into each gene's choices, narrow to wide.

    Args:
        model: The model's name, carried into every config.
        scheme: The quantization scheme, carried into every config too.
        encoders: The encoders and their linear layers, in order.
        choices: Allowed formats by kind; a sequence is those of all kinds. A kind with one is not searched.
        granularity: ``encoder`` (one gene an encoder), ``encoder-kind`` (weights, activations and attention
            of each encoder) or ``layer`` (weights and input of each linear layer, each attention matrix).
        fixed: Kinds that are not searched, with the format that they have everywhere.
        kept: Single genes that are not searched, by name, with the format that they have.

    Raises:
        UserError: No kind with two formats, no encoders, an unknown granularity, or a kind or gene that
            cannot be fixed.
    """

    def __init__(
        self,
        model: str,
        scheme: str,
        encoders: Sequence[EncoderLayers],
        choices: Choices | Sequence[FormatName],
        granularity: Granularity = "encoder-kind",
        fixed: Iterable[tuple[Kind, FormatName]] = (),
        kept: Iterable[tuple[str, FormatName]] = (),
    ) -> None:
        if granularity not in GRANULARITIES:
            raise UserError(f"unknown search space {granularity!r}: choose one of {', '.join(GRANULARITIES)}")
        found = choices if isinstance(choices, Choices) else Choices.alike(choices)
        check_choices(found, granularity)
        if not encoders:
            raise UserError("the model has no encoders to search over")
        self.model = model
        self.scheme = scheme
        self.encoders = tuple(encoders)
        self.choices = found
        self.granularity: Granularity = granularity
        self.fixed: dict[Kind, FormatName] = dict(fixed)
        check_fixed(self.fixed, found, granularity)
        grouped: dict[str, list[Slot]] = {}
        # Formats that no gene sets.
        self._settled: dict[Slot, FormatName] = {}
        held = self.held
        for encoder in self.encoders:
            for slot in _slots(encoder):
                if slot.kind in held:
                    self._settled[slot] = held[slot.kind]
                else:
                    grouped.setdefault(_gene_name(granularity, slot), []).append(slot)
        genes = {name: Gene(name, tuple(slots), found.of(slots[0].kind)) for name, slots in grouped.items()}
        self.kept: dict[str, FormatName] = dict(kept)
        check_kept(self.kept, genes)
        for name, value in self.kept.items():
            self._settled |= dict.fromkeys(genes.pop(name).slots, value)
        self.genes = tuple(genes.values())

    def __len__(self) -> int:
        return len(self.genes)

    @property
    def held(self) -> dict[Kind, FormatName]:
        """The formats of kinds that are not searched: those that are fixed or have no other."""
        single = {kind: self.choices.of(kind)[0] for kind in KINDS if len(self.choices.of(kind)) == 1}
        return single | self.fixed

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Names of the genes in genome order, such as ``encoder00.weights``."""
        return tuple(gene.name for gene in self.genes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many choices each gene has, in genome order."""
        return tuple(len(gene.choices) for gene in self.genes)

    @property
    def widest(self) -> tuple[int, ...]:
        """The genome of the widest choices."""
        return tuple(size - 1 for size in self.sizes)

    @property
    def widths(self) -> tuple[FormatName, ...]:
        """Every format that some gene may take, narrow to wide."""
        return in_order(value for gene in self.genes for value in gene.choices)

    @property
    def cardinality(self) -> int:
        """How many genomes there are."""
        return math.prod(self.sizes)

    def keeping(self, kept: Mapping[str, FormatName]) -> SearchSpace:
        """The part of this space in which some of its genes, by name, have one format."""
        return SearchSpace(
            self.model,
            self.scheme,
            self.encoders,
            self.choices,
            self.granularity,
            self.fixed.items(),
            {**self.kept, **kept}.items(),
        )

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """``count`` genomes drawn uniformly, shape ``[count, genes]``."""
        import numpy as np

        return rng.integers(np.array(self.sizes), size=(count, len(self.genes)), dtype=np.int64)

    def bits(self, genome: Genome) -> dict[str, FormatName]:
        """The genome as formats by gene name."""
        self._check(genome)
        return {gene.name: gene.choices[int(i)] for gene, i in zip(self.genes, genome, strict=True)}

    def decode(self, genome: Genome) -> BitConfig:
        """The configuration that a genome stands for; raises ValueError for a wrong shape or index."""
        self._check(genome)
        chosen = dict(self._settled)
        for gene, index in zip(self.genes, genome, strict=True):
            for slot in gene.slots:
                chosen[slot] = gene.choices[int(index)]
        return BitConfig(self.model, self.scheme, tuple(_encoder_bits(e, chosen) for e in self.encoders))

    def encode(self, config: BitConfig) -> Genome:
        """The genome of a configuration.

        Raises:
            UserError: The configuration has other encoders or widths, or is finer than this space.
        """
        import numpy as np

        if [e.name for e in config.encoders] != [e.name for e in self.encoders]:
            raise UserError(
                f"the bit config has {len(config.encoders)} encoders that do not match the "
                f"{len(self.encoders)} of {self.model}"
            )
        for slot, value in self._settled.items():
            has = config.encoders[slot.encoder].bits(slot.kind, slot.layer)
            if has != value:
                raise UserError(
                    f"the bit config has {slot.kind} of {titled([has])} in encoder {slot.encoder}; this "
                    f"space fixes {value}"
                )
        genome = np.empty(len(self.genes), dtype=np.int64)
        for position, gene in enumerate(self.genes):
            found = {config.encoders[s.encoder].bits(s.kind, s.layer) for s in gene.slots}
            if len(found) != 1 or not found <= set(gene.choices):
                raise UserError(
                    f"{gene.name} has {titled(found)}; space {self.granularity} takes one of "
                    f"{titled(gene.choices)}"
                )
            genome[position] = gene.choices.index(found.pop())
        return genome

    def _check(self, genome: Genome) -> None:
        if genome.shape != (len(self.genes),):
            raise ValueError(f"a genome has shape ({len(self.genes)},), not {genome.shape}")
        if (genome < 0).any() or (genome >= self.sizes).any():
            raise ValueError(f"genome entries are indices from 0 to below {self.sizes}")


def check_choices(choices: Choices, granularity: Granularity, what: str = "a search needs") -> None:
    """Refuses formats that leave nothing to search, or that no gene of a space could take.

    Args:
        choices: The formats of each kind.
        granularity: Of the space.
        what: Needs two formats, for the error.

    Raises:
        UserError: No kind has two formats, or one gene sets kinds with formats of their own.
    """
    if all(len(choices.of(kind)) < 2 for kind in KINDS):
        if choices.plain and choices.same:
            listed = ",".join(map(str, choices.every))
            raise UserError(f"--bits {listed}: {what} at least two widths, such as 4,8")
        raise UserError(
            f"--formats {' '.join(choices.texts)}: {what} at least two formats of a kind, such as "
            "weights=int4,int8"
        )
    if granularity == "encoder" and not choices.same:
        raise UserError(
            "one gene for each encoder sets all its kinds, so that they have the same formats: search "
            "kinds with formats of their own in space encoder-kind or layer"
        )


def check_fixed(fixed: Mapping[Kind, FormatName], choices: Choices, granularity: Granularity) -> None:
    """Refuses kinds that cannot be fixed at their format.

    Raises:
        UserError: One gene sets all kinds of an encoder, or the format is none that is prepared.
    """
    if fixed and granularity == "encoder":
        raise UserError(
            "one gene for each encoder sets all its kinds: fix kinds in space encoder-kind or layer"
        )
    for kind, value in fixed.items():
        if value not in choices.of(kind):
            listed = ", ".join(map(str, choices.of(kind)))
            raise UserError(f"{kind} cannot be fixed at {titled([value])}: choose among {listed}")


def check_kept(kept: Mapping[str, FormatName], genes: Mapping[str, Gene]) -> None:
    """Refuses genes that cannot be kept at their format.

    Raises:
        UserError: There is no such gene or format, or nothing would be left to search.
    """
    for name, value in kept.items():
        if name not in genes:
            raise UserError(f"{name} cannot be kept at {titled([value])}: the space has no such gene")
        if value not in genes[name].choices:
            listed = ", ".join(map(str, genes[name].choices))
            raise UserError(f"{name} cannot be kept at {titled([value])}: choose among {listed}")
    if kept and len(kept) == len(genes):
        raise UserError(f"all {len(genes)} genes would be kept at one width: leave one to search")


def _encoder_bits(encoder: EncoderLayers, chosen: dict[Slot, FormatName]) -> EncoderBits:
    def by_layer(kind: Kind) -> dict[str, FormatName]:
        return {layer: chosen[Slot(encoder.index, kind, layer)] for layer in encoder.linear}

    return EncoderBits(
        encoder.index,
        encoder.name,
        collapse(by_layer(KINDS[0])),
        collapse(by_layer(KINDS[1])),
        chosen[Slot(encoder.index, "attention", ATTENTION_LAYER)],
    )
