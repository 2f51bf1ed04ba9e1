"""Datasets: find, read, check, tokenize and batch their rows."""
