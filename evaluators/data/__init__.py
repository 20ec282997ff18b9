"""Images: sources, disjoint splits, and preprocessing as the model was trained with."""
