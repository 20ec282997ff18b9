"""Refinement: the codes, scales and biases of one bit configuration learned from images without labels."""
