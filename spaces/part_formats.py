"""Number formats of the parts of a pipeline: what each stores and computes in, and spaces of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bitfront.spaces.errors import UserError
from bitfront.spaces.space import Gene, Slot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Genome: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True)
class PartFormat:
    """How the products of a part are stored and computed.

    Attributes:
        name: As it is written, such as ``int8w``.
        bits: Of a weight.
        summary: In a few words.
    """

    name: str
    bits: int
    summary: str


# The narrowest first, as widths of a search space are.
FORMATS = {
    entry.name: entry
    for entry in (
        PartFormat("int4w", 4, "weights of 4 bits in groups of up to 64, products in float"),
        PartFormat("int8", 8, "weights and activations of 8 bits, products in integers"),
        PartFormat("int8w", 8, "weights of 8 bits by channel, products in float"),
        PartFormat("bf16", 16, "weights in bfloat16; products, too, where all of a component is"),
        PartFormat("fp16", 16, "weights in float16, products in float32"),
        PartFormat("fp32", 32, "float32"),
    )
}
FLOAT, INTEGER = "fp32", "int8"
USUAL_FORMATS = ("int4w", "int8", "int8w", "bf16", "fp32")


def parse_formats(names: str | Sequence[str]) -> tuple[str, ...]:
    """Formats of a list of names, or of a text such as ``fp32,int8``, the narrowest first.

    Raises:
        UserError: A name is unknown or repeated, or there are fewer than two.
    """
    parts = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    unknown = [part for part in parts if part not in FORMATS]
    if unknown:
        raise UserError(
            f"unknown format {unknown[0]!r}: choose among {', '.join(FORMATS)}, with commas between"
        )
    if len(parts) < 2 or len(set(parts)) < len(parts):
        raise UserError(f"--formats {','.join(parts)}: give at least two, each once, such as fp32,int8")
    return tuple(name for name in FORMATS if name in parts)


@dataclass(frozen=True)
class FormatConfig:
    """An assignment of formats to the parts of a pipeline.

    Attributes:
        pipeline: Its name.
        formats: The format of every gene, as pairs of names.
    """

    pipeline: str
    formats: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the assignment (SHA-256 of its canonical JSON)."""
        canonical = json.dumps([self.pipeline, self.formats], separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """One format where all genes have it, else how many genes have each, such as ``3 int8 + 5 fp32``."""
        counts = {name: sum(chosen == name for _, chosen in self.formats) for name in FORMATS}
        present = {name: count for name, count in counts.items() if count}
        if len(present) == 1:
            return next(iter(present))
        return " + ".join(f"{count} {name}" for name, count in present.items())


class FormatSpace:
    """All assignments of some formats to the genes of a pipeline.

    A genome is an int64 vector of shape ``[genes]`` with indices into each gene's choices. Engine and
    samplers ask no more of a space than this has.

    Args:
        pipeline: Its name.
        components: By component, the names of its genes.
        formats: Names of the formats, the narrowest first.
    """

    granularity = "block"

    def __init__(
        self, pipeline: str, components: Sequence[tuple[str, Sequence[str]]], formats: Sequence[str]
    ) -> None:
        self.pipeline = pipeline
        self.components = tuple((name, tuple(genes)) for name, genes in components)
        self.encoders = tuple(name for name, _ in self.components)
        self.widths = tuple(formats)
        self.genes = tuple(
            Gene(gene, (Slot(place, "weights", gene),), self.widths)
            for place, (_, genes) in enumerate(self.components)
            for gene in genes
        )

    def __len__(self) -> int:
        return len(self.genes)

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Names of the genes in genome order, such as ``transformer.block00``."""
        return tuple(gene.name for gene in self.genes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many choices each gene has: all have the same."""
        return (len(self.widths),) * len(self.genes)

    @property
    def widest(self) -> tuple[int, ...]:
        """The genome of the widest formats."""
        return tuple(size - 1 for size in self.sizes)

    @property
    def cardinality(self) -> int:
        """How many genomes there are."""
        return int(len(self.widths) ** len(self.genes))

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """``count`` genomes drawn uniformly, shape ``[count, genes]``."""
        import numpy as np

        return rng.integers(len(self.widths), size=(count, len(self.genes)), dtype=np.int64)

    def bits(self, genome: Genome) -> dict[str, str]:
        """The formats of a genome by gene name, as tables have them."""
        return dict(self.decode(genome).formats)

    def decode(self, genome: Genome) -> FormatConfig:
        """The assignment that a genome stands for; raises ValueError for a wrong shape."""
        if len(genome) != len(self.genes):
            raise ValueError(f"a genome has {len(self.genes)} entries, not {len(genome)}")
        chosen = (self.widths[int(index)] for index in genome)
        return FormatConfig(self.pipeline, tuple(zip(self.gene_names, chosen, strict=True)))

    def uniform(self, name: str, component: str | None = None, others: str = FLOAT) -> tuple[int, ...]:
        """The genome with one format everywhere, or in one component alone and ``others`` elsewhere."""
        own = set(self.gene_names if component is None else dict(self.components)[component])
        return tuple(self.widths.index(name if gene in own else others) for gene in self.gene_names)
