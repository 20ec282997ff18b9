"""The profile of a prepared model as a JSON document: costs, recipe, grids, and sensitivities of genes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.wording import choice_ends
from bitfront.spaces import FORMATS, KINDS, BitConfig, FormatName, QuantSite, SearchSpace, pinned_bits

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.sensitivity.gene_scores import GeneScores
    from bitfront.evaluators.sensitivity.one_flip import OneFlip
    from bitfront.evaluators.sensitivity.spectral import SpectralScores

GRADIENT, SPECTRAL = "gradient", "spectral"
QUERIES_KEYS_VALUES = "queries, keys and values are activations; the softmax output is the attention"
SCHEME_NOTES = {
    "fq-vit": "scheme fq-vit: everything in integers; the residual stream, scores, patch embedding and head "
    "are pinned to 8 bits",
    "deploy": "scheme deploy: matrix products in integers; the residual stream, LayerNorm, softmax and GELU "
    "in float32; patch embedding and head are pinned to 8 bits",
}


def _measures(task: Task) -> dict[str, tuple[str, bool]]:
    """What genes are ranked by: the key of its figure, and whether a gene with more of it matters more."""
    return {
        task.loss: (f"{task.loss}_change", True),
        task.distance: ("divergence", True),
        task.counted: (f"{task.counted}_change", False),
        GRADIENT: (GRADIENT, True),
        SPECTRAL: (SPECTRAL, True),
    }


def site_formats(context: EvaluationContext, site: QuantSite) -> tuple[FormatName, ...]:
    """The formats that a site may take: those prepared, or the width it is pinned to."""
    from bitfront.evaluators.context.preparing import prepared_choices

    if site.pinned:
        return (dict(pinned_bits(context.spec.scheme))[site.layer],)
    return prepared_choices(context.spec).of(site.kind)


def site_grids(context: EvaluationContext, site: QuantSite) -> dict[str, dict[str, Any]] | None:
    """The grid of an activation site at each of its widths; None for weights, nothing for floats.

    ``low`` and ``high`` are the least and the greatest value that has a code and ``scale`` the step between
    codes; a residual stream has the step of its finest channels and an exponent for each. Sites that take
    levels have those in addition, and logarithmic attention has the base alone.
    """
    from bitfront.evaluators.models.sites import is_residual

    if site.kind == "weights":
        return None
    widths = [value for value in site_formats(context, site) if isinstance(value, int)]
    if is_residual(site.name):
        return {str(bits): _stream(context, site) for bits in widths}
    return {str(bits): _grid(context, site, bits) for bits in widths}


def _stream(context: EvaluationContext, site: QuantSite) -> dict[str, Any]:
    grid = context.prepared.calibration.stream(site.name)
    low, high = ((code - grid.zero_point) * float(grid.channel_scales.max()) for code in (0, grid.qmax))
    exponents = [int(exponent) for exponent in grid.exponents]
    return _described(low, high, grid.scale, grid.zero_point) | {"exponents": exponents}


def _grid(context: EvaluationContext, site: QuantSite, bits: int) -> dict[str, Any]:
    from bitfront.evaluators.preparation.log_base import LOG_BITS
    from bitfront.evaluators.quantizers.minifloats import MinifloatGrid

    prepared = context.prepared
    grid = prepared.calibration.grid(site.name, bits)
    codebook = prepared.calibration.codebooks.get((site.name, bits))
    levels = codebook is not None or isinstance(grid, MinifloatGrid)
    if isinstance(grid, MinifloatGrid):
        codes = grid.codes.tolist()
    elif site.kind == "attention" and bits <= LOG_BITS and site.encoder is not None:
        return {"log2_base": prepared.log_steps[site.encoder]}
    else:
        codes = [0, grid.qmax] if codebook is None else sorted(set(codebook.tolist()))
    values = [(code - grid.zero_point) * grid.scale for code in codes]
    described = _described(values[0], values[-1], grid.scale, grid.zero_point)
    return described | {"levels": values} if levels else described


def _described(low: float, high: float, scale: float, zero_point: int) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": scale, "zero_point": zero_point}


def profile_document(context: EvaluationContext) -> dict[str, Any]:
    """Everything that ``bitfront profile`` tells; sizes are bytes, MACs are those of one image."""
    from bitfront.evaluators.context.preparing import prepared_choices

    spec, choices = context.spec, prepared_choices(context.spec)
    uniform = {
        value: BitConfig.uniform(spec.model, spec.scheme, context.encoders, (value, value, value))
        for value in choices.every
        if all(value in choices.of(kind) for kind in KINDS)
    }
    return {
        "model": spec.model,
        "weights": context.model.weights,
        "data": spec.data,
        "calibration_images": len(context.splits.calibration),
        "scheme": spec.scheme,
        "recipe": spec.recipe,
        "without": list(spec.without),
        "observer": spec.observer,
        "ingredients": _ingredients(context),
        "notes": _notes(context),
        "widths": list(choices.every),
        "encoders": [encoder.name for encoder in context.encoders],
        "parameters": sum(parameter.numel() for parameter in context.model.module.parameters()),
        "macs": model_macs(context.sites),
        "fp32_size_bytes": context.size.float_bytes(),
        "uniform_size_bytes": {str(value): context.size.size_bytes(uniform[value]) for value in uniform},
        "sites": [_site(context, site) for site in context.sites],
    }


def model_macs(sites: Sequence[QuantSite]) -> int:
    """Multiply-accumulates of one image: all linear layers, and both products of every attention."""
    linear = sum(site.macs for site in sites if site.kind == "weights")
    # The attention matrix is an operand of the second product; the first is of the same size.
    return linear + 2 * sum(site.macs for site in sites if site.kind == "attention")


def _site(context: EvaluationContext, site: QuantSite) -> dict[str, Any]:
    from bitfront.evaluators.packed.tensors import packed_bytes

    formats = site_formats(context, site)
    return {
        "name": site.name,
        "kind": site.kind,
        "encoder": site.encoder,
        "layer": site.layer,
        "pinned": site.pinned,
        "elements": site.elements,
        "macs": site.macs,
        "packed_bytes": {str(value): packed_bytes(site.elements, FORMATS[value].bits) for value in formats},
        "grids": site_grids(context, site),
    }


def _ingredients(context: EvaluationContext) -> list[dict[str, str]]:
    """Every ingredient there is: ``used``, ``left out``, or ``not in it`` where the recipe has none of it."""
    from bitfront.evaluators.preparation.recipes import INGREDIENTS, recipe_named

    whole = recipe_named(context.spec.recipe)
    taken = whole.without(context.spec.without)
    return [
        {
            "name": name,
            "state": "used" if name in taken else "left out" if name in whole else "not in it",
            "description": description,
        }
        for name, description in INGREDIENTS.items()
    ]


def _notes(context: EvaluationContext) -> list[str]:
    """What holds of this scheme, observer and model."""
    from bitfront.evaluators.preparation.recipes import ROTATED_STREAM

    spec, blueprint = context.spec, context.prepared.blueprint
    notes = [SCHEME_NOTES[spec.scheme], QUERIES_KEYS_VALUES]
    if spec.observer is not None:
        notes.append(f"activation ranges are those of observer {spec.observer}, whatever the recipe says")
    if ROTATED_STREAM not in spec.whole_recipe:
        return notes
    if any(encoder.post_norm for encoder in blueprint.encoders):
        notes.append(
            f"{ROTATED_STREAM}: not in this model, whose norms are behind what is added to the stream"
        )
    elif blueprint.embed_norm is not None or blueprint.patch_norm is not None:
        rest = f" before {blueprint.encoders[min(blueprint.merges)].name}" if blueprint.merges else ""
        # The affine part of a norm within the stream has no layer to be folded into.
        notes.append(f"{ROTATED_STREAM}: not{rest}, where the stream begins with a norm")
    return notes


def sensitivity_document(
    context: EvaluationContext,
    space: SearchSpace,
    flips: Sequence[OneFlip] | None,
    scores: GeneScores | None,
    spectral: SpectralScores | None = None,
) -> dict[str, Any]:
    """One entry for each gene in genome order, and how the rankings agree.

    Args:
        context: The prepared model.
        space: Whose genes are described.
        flips: Measured sensitivities; None where they were not measured.
        scores: Gradient scores; None where there are none.
        spectral: Spectral sensitivities; None where there are none.
    """
    from scipy.stats import rankdata

    from bitfront.search.samplers.surrogate.additive import gene_costs

    genes: list[dict[str, Any]] = []
    narrow, wide = choice_ends(space.choices)
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
        genes = [{**gene, GRADIENT: float(score)} for gene, score in zip(genes, narrowest, strict=True)]
    if spectral is not None:
        genes = [{**gene, SPECTRAL: float(value)} for gene, value in zip(genes, spectral.values, strict=True)]
    measures = {name: how for name, how in _measures(context.task).items() if how[0] in genes[0]}
    # From 1, what matters most; equals share the mean of theirs.
    ranks: dict[str, list[float]] = {
        name: rankdata([-gene[key] if rising else gene[key] for gene in genes]).tolist()
        for name, (key, rising) in measures.items()
    }
    return {
        "task": context.task.name,
        "space": space.granularity,
        "narrow": narrow,
        "wide": wide,
        "images": len(context.images("search")),
        "genes": [
            {**gene, "ranks": {name: ranks[name][position] for name in ranks}}
            for position, gene in enumerate(genes)
        ],
        "rank_correlations": _correlations(ranks),
        "rank_agreement": _agreement(ranks),
        "rank_agreement_by_kind": _agreement_by_kind([gene["kind"] for gene in genes], ranks),
    }


def _correlations(ranks: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Spearman's rank correlation of every two measures; NaN where one of them ranks all alike."""
    found = {}
    for first, second in itertools.combinations(ranks, 2):
        a, b = np.asarray(ranks[first]), np.asarray(ranks[second])
        alike = a.std() == 0 or b.std() == 0
        found[f"{first}/{second}"] = float("nan") if alike else float(np.corrcoef(a, b)[0, 1])
    return found


def _agreement(ranks: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Rank correlations of every two measures with their bootstrap intervals; equals share their ranks."""
    from bitfront.evaluators.sensitivity.rank_agreement import rank_agreement

    return {
        f"{first}/{second}": rank_agreement(np.asarray(ranks[first]), np.asarray(ranks[second])).to_json()
        for first, second in itertools.combinations(ranks, 2)
    }


def _agreement_by_kind(kinds: Sequence[str], ranks: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The same among the genes of each kind of tensor; empty where there is one kind alone."""
    found = {}
    for kind in dict.fromkeys(kinds) if len(set(kinds)) > 1 else ():
        own = {
            name: [rank for rank, of in zip(values, kinds, strict=True) if of == kind]
            for name, values in ranks.items()
        }
        found[kind] = _agreement(own)
    return found
