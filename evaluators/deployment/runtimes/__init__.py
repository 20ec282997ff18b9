"""Runtimes that execute exported files, and what they say of the kernels that they chose."""
