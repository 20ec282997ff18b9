"""Sensitivities of a search space's genes as a JSON document: measured, estimated, ranked and compared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.spaces import SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.sensitivity.gene_scores import GeneScores
    from bitfront.evaluators.sensitivity.one_flip import OneFlip


# What genes are ranked by: the key of its figure, and whether a gene matters more where it is greater.
MEASURES: dict[str, tuple[str, bool]] = {
    "loss": ("loss_change", True),
    "kl": ("divergence", True),
    "top1": ("top1_change", False),
    "gradient": ("gradient", True),
}


def sensitivity_document(
    context: EvaluationContext, space: SearchSpace, flips: Sequence[OneFlip] | None, scores: GeneScores | None
) -> dict[str, Any]:
    """One entry for each gene in genome order, and how the rankings agree.

    Args:
        context: The prepared model.
        space: Whose genes are described.
        flips: Measured sensitivities; None where they were not measured.
        scores: Gradient scores; None where there are none.
    """
    from scipy.stats import rankdata

    from bitfront.search.samplers.surrogate.additive import gene_costs

    genes: list[dict[str, Any]] = []
    # Of each gene alone, at its lowest width.
    for gene, change in zip(space.genes, gene_costs(space, context.size.size_bytes)[:, 0], strict=True):
        kinds = {slot.kind for slot in gene.slots}
        kind, encoder = kinds.pop() if len(kinds) == 1 else "all", gene.slots[0].encoder
        saved = -round(float(change))
        genes.append({"gene": gene.name, "encoder": encoder, "kind": kind, "bytes_saved": saved})
    if flips is not None:
        genes = [{**gene, **flip.to_json()} for gene, flip in zip(genes, flips, strict=True)]
    if scores is not None:
        narrowest = scores.additive[:, 0]
        genes = [{**gene, "gradient": float(score)} for gene, score in zip(genes, narrowest, strict=True)]
    measures = {name: how for name, how in MEASURES.items() if how[0] in genes[0]}
    # From 1, what matters most; equals share the mean of theirs.
    ranks: dict[str, list[float]] = {
        name: rankdata([-gene[key] if rising else gene[key] for gene in genes]).tolist()
        for name, (key, rising) in measures.items()
    }
    return {
        "space": space.granularity,
        "narrow": space.widths[0],
        "wide": space.widths[-1],
        "images": len(context.images("search")),
        "genes": [
            {**gene, "ranks": {name: ranks[name][position] for name in ranks}}
            for position, gene in enumerate(genes)
        ],
        "rank_correlations": _correlations(ranks),
    }


def _correlations(ranks: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Spearman's rank correlation of every two measures; NaN where one of them ranks all alike."""
    found = {}
    for first, second in itertools.combinations(ranks, 2):
        a, b = np.asarray(ranks[first]), np.asarray(ranks[second])
        alike = a.std() == 0 or b.std() == 0
        found[f"{first}/{second}"] = float("nan") if alike else float(np.corrcoef(a, b)[0, 1])
    return found
