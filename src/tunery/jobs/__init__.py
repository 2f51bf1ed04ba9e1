"""Long-running work besides training: downloads, checks, evaluations, exports; one process each."""
