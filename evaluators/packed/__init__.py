"""Packed files: the file whose bytes are a configuration's size."""
