"""A bit config by module names, in the formats that other quantization toolchains read."""
