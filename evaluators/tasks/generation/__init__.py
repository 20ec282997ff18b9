"""The task of generation: how far pictures are from those of the float pipeline."""
