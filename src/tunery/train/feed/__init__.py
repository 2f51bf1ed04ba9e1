"""The row order of each step, and its batches, prefetched in the background."""
