"""Genomes as 0/1 vectors: one entry for each gene and each of its choices but the widest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Genomes = NDArray[np.int64]


def narrow_choices(sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Where genes have a choice that is not their widest, ``[genes, most choices - 1]``.

    Args:
        sizes: Choices of each gene.
    """
    tops = np.array(sizes, dtype=np.int64) - 1
    found: NDArray[np.bool_] = np.arange(tops.max(initial=0)) < tops[:, None]
    return found


def narrowed(genomes: Genomes, sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Which genes of genomes ``[count, genes]`` are narrowed, and to what, ``[count, narrow choices]``.

    Entries come gene by gene, and within a gene from the narrowest choice on.
    """
    there = narrow_choices(sizes)
    found: NDArray[np.bool_] = (np.asarray(genomes)[:, :, None] == np.arange(there.shape[1]))[:, there]
    return found


def gene_table(sizes: Sequence[int]) -> Table:
    """Zeros for every choice of every gene, ``[genes, most choices]``; NaN where a gene has fewer."""
    counts = np.array(sizes, dtype=np.int64)
    return np.where(np.arange(counts.max(initial=0)) < counts[:, None], 0.0, np.nan)
