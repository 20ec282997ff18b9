"""What may be chosen: number formats, quantization sites, bit configurations, search spaces, constraints."""

from bitfront.spaces.choices import Choices, parse_fixed, parse_formats, parse_uniform, triples
from bitfront.spaces.config import BitConfig, EncoderBits, NotUniform, StructuralConstraint, mixed_only
from bitfront.spaces.errors import BitfrontError, UserError
from bitfront.spaces.formats import FORMATS, FormatName, NumberFormat, Triple, number_format, plain_width
from bitfront.spaces.precision import Precision, parse_bits
from bitfront.spaces.schemes import SCHEMES, check_scheme, pinned_bits
from bitfront.spaces.sites import KINDS, EncoderLayers, Kind, QuantSite, encoder_layers
from bitfront.spaces.space import (
    GRANULARITIES,
    Gene,
    Genome,
    Granularity,
    SearchSpace,
    check_choices,
    check_fixed,
)

__all__ = [
    "FORMATS", "GRANULARITIES", "KINDS", "SCHEMES", "BitConfig", "BitfrontError", "Choices", "EncoderBits",
    "EncoderLayers", "FormatName", "Gene", "Genome", "Granularity", "Kind", "NotUniform", "NumberFormat",
    "Precision", "QuantSite", "SearchSpace", "StructuralConstraint", "Triple", "UserError", "check_choices",
    "check_fixed", "check_scheme", "encoder_layers", "mixed_only", "number_format", "parse_bits",
    "parse_fixed", "parse_formats", "parse_uniform", "pinned_bits", "plain_width",
    "triples",
]  # fmt: skip
