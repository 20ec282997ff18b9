"""What may be chosen: precisions, quantization sites, bit configurations, search spaces, constraints."""

from bitfront.spaces.config import BitConfig, EncoderBits, NotUniform, StructuralConstraint, mixed_only
from bitfront.spaces.errors import BitfrontError, UserError
from bitfront.spaces.precision import Precision, parse_bits, parse_fixed, parse_uniform
from bitfront.spaces.schemes import SCHEMES, check_scheme, pinned_bits
from bitfront.spaces.sites import KINDS, EncoderLayers, Kind, QuantSite, Triple, encoder_layers, triples
from bitfront.spaces.space import GRANULARITIES, Gene, Genome, Granularity, SearchSpace, check_fixed

__all__ = [
    "GRANULARITIES", "KINDS", "SCHEMES", "BitConfig", "BitfrontError", "EncoderBits", "EncoderLayers", "Gene",
    "Genome", "Granularity", "Kind", "NotUniform", "Precision", "QuantSite", "SearchSpace",
    "StructuralConstraint", "Triple", "UserError", "check_fixed", "check_scheme", "encoder_layers",
    "mixed_only", "parse_bits", "parse_fixed", "parse_uniform", "pinned_bits", "triples",
]  # fmt: skip
