"""The steps of a study: trainings, what they are worth, files, times, and the figures of it all."""
