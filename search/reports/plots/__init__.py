"""Pictures of a run: the front, the bit map along it and the hypervolume history."""
