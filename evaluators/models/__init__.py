"""Float models: the embedded default, its training, and loading of any timm vision transformer."""
