"""Scheme ``fq-vit``: the fully integer vision transformer."""

from bitfront.evaluators.fq_vit.model import FqVit
from bitfront.evaluators.fq_vit.prepared import PreparedFqVit

__all__ = ["FqVit", "PreparedFqVit"]
