"""Search spaces: how a genome of choices becomes a bit configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bitfront.spaces.config import BitConfig, EncoderBits, collapse
from bitfront.spaces.errors import UserError
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
    """One width that a gene sets: a kind of tensor at a layer of an encoder."""

    encoder: int
    kind: Kind
    layer: str


@dataclass(frozen=True)
class Gene:
    """One choice of a genome: a named width that all its slots share."""

    name: str
    slots: tuple[Slot, ...]


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
    """All assignments of the allowed widths at one granularity.

    A genome is an int64 vector of shape ``[genes]`` with indices into ``widths``.

    Args:
        model: The model's name, carried into every config.
        scheme: The quantization scheme, carried into every config too.
        encoders: The encoders and their linear layers, in order.
        widths: Allowed bit widths, ascending.
        granularity: ``encoder`` (one gene an encoder), ``encoder-kind`` (weights, activations and attention
            of each encoder) or ``layer`` (weights and input of each linear layer, each attention matrix).
        fixed: Kinds that are not searched, with the width that they have everywhere.
        kept: Single genes that are not searched, by name, with the width that they have.

    Raises:
        UserError: Fewer than two widths, no encoders, an unknown granularity, or a kind or gene that cannot
            be fixed.
    """

    def __init__(
        self,
        model: str,
        scheme: str,
        encoders: Sequence[EncoderLayers],
        widths: Sequence[int],
        granularity: Granularity = "encoder-kind",
        fixed: Iterable[tuple[Kind, int]] = (),
        kept: Iterable[tuple[str, int]] = (),
    ) -> None:
        if granularity not in GRANULARITIES:
            raise UserError(f"unknown search space {granularity!r}: choose one of {', '.join(GRANULARITIES)}")
        if len(set(widths)) < 2:
            raise UserError(
                f"--bits {','.join(map(str, widths))}: a search needs at least two widths, such as 4,8"
            )
        if not encoders:
            raise UserError("the model has no encoders to search over")
        self.model = model
        self.scheme = scheme
        self.encoders = tuple(encoders)
        self.widths = tuple(sorted(set(widths)))
        self.granularity: Granularity = granularity
        self.fixed: dict[Kind, int] = dict(fixed)
        check_fixed(self.fixed, self.widths, granularity)
        grouped: dict[str, list[Slot]] = {}
        # Widths that no gene sets.
        self._settled: dict[Slot, int] = {}
        for encoder in self.encoders:
            for slot in _slots(encoder):
                if slot.kind in self.fixed:
                    self._settled[slot] = self.fixed[slot.kind]
                else:
                    grouped.setdefault(_gene_name(granularity, slot), []).append(slot)
        self.kept: dict[str, int] = dict(kept)
        check_kept(self.kept, tuple(grouped), self.widths)
        for name, width in self.kept.items():
            self._settled |= dict.fromkeys(grouped.pop(name), width)
        self.genes = tuple(Gene(name, tuple(slots)) for name, slots in grouped.items())

    def __len__(self) -> int:
        return len(self.genes)

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Names of the genes in genome order, such as ``encoder00.weights``."""
        return tuple(gene.name for gene in self.genes)

    @property
    def cardinality(self) -> int:
        """How many genomes there are."""
        return int(len(self.widths) ** len(self.genes))

    def keeping(self, kept: Mapping[str, int]) -> SearchSpace:
        """The part of this space in which some of its genes, by name, have one width."""
        return SearchSpace(
            self.model,
            self.scheme,
            self.encoders,
            self.widths,
            self.granularity,
            self.fixed.items(),
            {**self.kept, **kept}.items(),
        )

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """``count`` genomes drawn uniformly, shape ``[count, genes]``."""
        import numpy as np

        return rng.integers(len(self.widths), size=(count, len(self.genes)), dtype=np.int64)

    def bits(self, genome: Genome) -> dict[str, int]:
        """The genome as bits by gene name."""
        self._check(genome)
        return {gene.name: self.widths[int(i)] for gene, i in zip(self.genes, genome, strict=True)}

    def decode(self, genome: Genome) -> BitConfig:
        """The configuration that a genome stands for; raises ValueError for a wrong shape or index."""
        self._check(genome)
        chosen = dict(self._settled)
        for gene, index in zip(self.genes, genome, strict=True):
            for slot in gene.slots:
                chosen[slot] = self.widths[int(index)]
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
        for slot, width in self._settled.items():
            found = config.encoders[slot.encoder].bits(slot.kind, slot.layer)
            if found != width:
                raise UserError(
                    f"the bit config has {slot.kind} of {found} bits in encoder {slot.encoder}; this space "
                    f"fixes {width}"
                )
        genome = np.empty(len(self.genes), dtype=np.int64)
        for position, gene in enumerate(self.genes):
            widths = {config.encoders[s.encoder].bits(s.kind, s.layer) for s in gene.slots}
            if len(widths) != 1 or not widths <= set(self.widths):
                raise UserError(
                    f"{gene.name} has {sorted(widths)} bits; space {self.granularity} takes one of "
                    f"{list(self.widths)}"
                )
            genome[position] = self.widths.index(widths.pop())
        return genome

    def _check(self, genome: Genome) -> None:
        if genome.shape != (len(self.genes),):
            raise ValueError(f"a genome has shape ({len(self.genes)},), not {genome.shape}")
        if genome.min() < 0 or genome.max() >= len(self.widths):
            raise ValueError(f"genome entries are indices 0 to {len(self.widths) - 1}")


def check_fixed(fixed: Mapping[Kind, int], widths: Sequence[int], granularity: Granularity) -> None:
    """Refuses kinds that cannot be fixed at their width.

    Raises:
        UserError: One gene sets all kinds of an encoder, or the width is none that is prepared.
    """
    if fixed and granularity == "encoder":
        raise UserError(
            "one gene for each encoder sets all its kinds: fix kinds in space encoder-kind or layer"
        )
    foreign = [width for width in fixed.values() if width not in widths]
    if foreign:
        raise UserError(
            f"a kind cannot be fixed at {foreign[0]} bits: choose among {', '.join(map(str, widths))}"
        )


def check_kept(kept: Mapping[str, int], genes: Sequence[str], widths: Sequence[int]) -> None:
    """Refuses genes that cannot be kept at their width.

    Raises:
        UserError: There is no such gene or width, or nothing would be left to search.
    """
    for name, width in kept.items():
        if name not in genes or width not in widths:
            raise UserError(
                f"{name} cannot be kept at {width} bits: the space has no such gene, or it has other widths "
                f"than {', '.join(map(str, widths))}"
            )
    if kept and len(kept) == len(genes):
        raise UserError(f"all {len(genes)} genes would be kept at one width: leave one to search")


def _encoder_bits(encoder: EncoderLayers, chosen: dict[Slot, int]) -> EncoderBits:
    def by_layer(kind: Kind) -> dict[str, int]:
        return {layer: chosen[Slot(encoder.index, kind, layer)] for layer in encoder.linear}

    return EncoderBits(
        encoder.index,
        encoder.name,
        collapse(by_layer(KINDS[0])),
        collapse(by_layer(KINDS[1])),
        chosen[Slot(encoder.index, "attention", ATTENTION_LAYER)],
    )
