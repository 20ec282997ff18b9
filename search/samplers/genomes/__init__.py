"""Genomes of choices: which were asked for, the first population, and operators that make others."""
