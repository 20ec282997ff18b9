"""Gradient scores of a search space: the divergence that any genome is predicted to cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import FORMATS, FormatName, SearchSpace, UserError
from bitfront.spaces.formats import in_order
from bitfront.spaces.genomes import gene_table, narrow_choices, narrowed

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.sensitivity.projections import Projections


FORMAT = "bitfront/gene-scores"
VERSION = 1
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GeneScores:
    """Second moments of what narrowing each gene does to the prediction.

    With ``x`` the 0/1 vector of the narrowed genes, ``x^T moments x`` is the KL divergence, in nats per
    image, from the prediction at the widest to that of the genome, to second order.

    Attributes:
        names: Of the genes, in genome order.
        choices: Formats of each gene, narrow to wide; a genome's entries are indices into them.
        moments: Half the mean products of the errors' projections, ``[n, n]`` with
            ``n`` the choices that are not the widest of their gene: gene by gene, and within a gene from the
            narrowest on.
    """

    names: tuple[str, ...]
    choices: tuple[tuple[FormatName, ...], ...]
    moments: Matrix

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many choices each gene has."""
        return tuple(map(len, self.choices))

    @property
    def additive(self) -> Matrix:
        """Divergence of each gene alone at each choice, nats, ``[genes, most choices]``; 0 at the widest.

        NaN where a gene has fewer choices.
        """
        found = gene_table(self.sizes)
        found[:, :-1][narrow_choices(self.sizes)] = self.moments.diagonal()
        return found

    def predicted_kl(self, genomes: NDArray[np.int64]) -> Matrix:
        """Divergence of genomes ``[count, genes]`` from the widest, nats, ``[count]``; less is better."""
        x = narrowed(genomes, self.sizes).astype(np.float64)
        found: Matrix = np.maximum(0.0, ((x @ self.moments) * x).sum(1))
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON document; of the symmetric moments the lower triangle.

        Choices are one list where all genes have the same, else one for each gene.
        """
        same = len(set(self.choices)) == 1
        return {
            "format": FORMAT,
            "version": VERSION,
            "genes": list(self.names),
            "widths": list(self.choices[0]) if same else [list(values) for values in self.choices],
            "moments": [row[: number + 1].tolist() for number, row in enumerate(self.moments)],
        }

    @classmethod
    def from_json(cls, document: object) -> GeneScores:
        """Reads what :meth:`to_json` gave.

        Raises:
            UserError: It is something else.
        """
        found = document if isinstance(document, dict) else {}
        if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
            raise UserError(
                f'not gene scores: expected a JSON object with "format": "{FORMAT}", "version": {VERSION}'
            )
        names = found.get("genes")
        if not isinstance(names, list) or not names or any(type(name) is not str for name in names):
            raise UserError('gene scores: "genes" must be a list of names')
        choices = _choices(found.get("widths"), len(names))
        moments = _moments(found.get("moments"), sum(len(values) - 1 for values in choices))
        return cls(tuple(names), choices, moments)


def _choices(listed: Any, genes: int) -> tuple[tuple[FormatName, ...], ...]:
    """The formats of each gene: one list of all genes, or a list for each."""
    rows: list[Any] = listed if isinstance(listed, list) else []
    rows = rows if rows and all(isinstance(row, list) for row in rows) else [rows] * genes
    known = all(row and all(type(value) in (int, str) and value in FORMATS for value in row) for row in rows)
    if len(rows) != genes or not known or any(list(in_order(row)) != row for row in rows):
        raise UserError('gene scores: "widths" must be lists of formats that ascend, such as [4, 8]')
    return tuple(map(tuple, rows))


def _moments(rows: Any, count: int) -> Matrix:
    """The symmetric matrix of a lower triangle, checked."""
    shape = [len(row) if isinstance(row, list) else 0 for row in rows] if isinstance(rows, list) else []
    if shape != list(range(1, count + 1)) or any(
        type(entry) not in (int, float) for row in rows for entry in row
    ):
        raise UserError(f'gene scores: "moments" must be the {count} rows of a lower triangle of numbers')
    lower = np.zeros((count, count))
    try:
        lower[np.tril_indices(count)] = [entry for row in rows for entry in row]
    except OverflowError as error:
        raise UserError(f'gene scores: "moments" has a number that is too large: {error}') from error
    if not np.isfinite(lower).all() or (lower.diagonal() < 0).any():
        raise UserError('gene scores: "moments" must be finite, and not negative on the diagonal')
    return lower + np.tril(lower, -1).T


def gene_scores(
    context: EvaluationContext, space: SearchSpace, progress: ShareDone = unreported
) -> GeneScores:
    """Scores every gene at every choice by one pass of gradients over images of the search split, unlabelled.

    The search split it is, because a model is sure of the images that it was trained on, which those for
    calibration often are: their divergence says little of that of others.

    Args:
        context: The prepared model and its data.
        space: Whose genes are scored.
        progress: Is told the share that is done.
    """
    from bitfront.evaluators.context.preparing import preparing_threads
    from bitfront.evaluators.context.throughput import torch_threads
    from bitfront.evaluators.sensitivity.projections import pass_images, project

    count, batches = pass_images(context.images("search"))
    # The model's own number of threads: it moves sums by a rounding, and with them what is proposed.
    with torch_threads(preparing_threads(context.prepared.blueprint)):
        projections = project(context.prepared, batches, lambda images: progress(images / count))
    return scores_of(projections, space)


def scores_of(projections: Projections, space: SearchSpace) -> GeneScores:
    """The scores of a space's genes; parts of the same gene and image count together."""
    base = np.array(space.widest, dtype=np.int64)
    whole = projections.of(space.decode(base))
    moved = []
    for gene in range(len(space)):
        for index in range(base[gene]):
            genome = base.copy()
            genome[gene] = index
            moved.append(projections.of(space.decode(genome)) - whole)
    choices = tuple(gene.choices for gene in space.genes)
    return GeneScores(space.gene_names, choices, shrunk_moments(np.stack(moved)))


def shrunk_moments(samples: Matrix) -> Matrix:
    """Half the mean products of ``samples`` ``[n, images, 2]``, ``[n, n]``, less the chance in them.

    Products of different parts scatter about zero: errors of different parts are all but independent, and
    what a few images show of their products is mostly chance. They are shrunk towards zero by the share of
    their squares that their own variance explains (Schaefer and Strimmer 2005, section 2.4, target D); the
    diagonal is kept, and the matrix stays positive semidefinite.
    """
    count, images, _ = samples.shape
    total, squares = np.zeros((count, count)), np.zeros((count, count))
    for image in range(images):
        product = samples[:, image] @ samples[:, image].T
        total += product
        squares += product * product
    mean = total / images
    off = ~np.eye(count, dtype=bool)
    strength = float(np.square(mean[off]).sum())
    variance = float((squares / images - mean * mean)[off].sum()) / max(1, images - 1)
    kept = 1.0 - min(1.0, variance / strength) if strength > 0 else 0.0
    shrunk: Matrix = np.where(off, kept * mean, mean) / 2
    return shrunk
