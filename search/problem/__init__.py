"""What is asked of a search: spec, objectives, limits, references, archive and hypervolume."""
