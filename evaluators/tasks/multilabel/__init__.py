"""Any number of labels to an image: models whose outputs each go through a sigmoid."""
