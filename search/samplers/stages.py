"""The stages in which a model is narrowed part by part, and the genes of each."""

from __future__ import annotations

from dataclasses import dataclass

from bitfront.spaces import SearchSpace
from bitfront.spaces.space import ATTENTION_LAYER, Gene

# In their order (VQ-ViT): names, and the layers of each; other tensors come last.
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("MLP", ("mlp.fc1", "mlp.fc2")),
    ("attention output", ("attn.proj",)),
    ("queries, keys and values", ("attn.qkv", ATTENTION_LAYER)),
)
LAST = "embeddings and head"


@dataclass(frozen=True)
class Stage:
    """Genes that are narrowed together.

    Attributes:
        name: Of the part of the model.
        genes: Their places in the genome, ascending.
    """

    name: str
    genes: tuple[int, ...]


def stages_of(space: SearchSpace, *, by_kind: bool = False) -> list[Stage]:
    """The stages that a space has genes of, in their order.

    Args:
        space: The space.
        by_kind: Whether weights, activations and attention of a stage are stages of their own.
    """
    grouped: dict[tuple[int, str], list[int]] = {}
    for place, gene in enumerate(space.genes):
        kind = min({slot.kind for slot in gene.slots}) if by_kind else ""
        grouped.setdefault((_stage(gene), kind), []).append(place)
    names = [*(name for name, _ in STAGES), LAST]
    return [Stage(names[number], tuple(grouped[number, kind])) for number, kind in sorted(grouped)]


def _stage(gene: Gene) -> int:
    """The first stage that a gene sets a width of."""
    layers = {slot.layer for slot in gene.slots}
    found = (number for number, (_, own) in enumerate(STAGES) if layers & set(own))
    return next(found, len(STAGES))
