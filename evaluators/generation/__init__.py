"""Pictures that a pipeline generates, and what quantizing its parts costs in them."""
