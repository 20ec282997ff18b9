"""One class to an image: the task of timm's image classifiers."""
