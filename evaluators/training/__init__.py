"""Training of float models: from nothing, fine-tuned or distilled; what is written can be searched."""
