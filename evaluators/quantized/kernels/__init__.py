"""Integer kernels: linear layers, attention, integer LayerNorm with the residual sum."""
