"""Comparison of samplers: several of them, with several seeds, on evaluations that are paid for once."""
