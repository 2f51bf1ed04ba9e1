"""Long work beside training: downloads, checks, evaluations, exports, a process each."""
