"""Which rows a step sees, and its batches, ready before the step asks."""
