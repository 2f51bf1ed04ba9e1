"""How weights lie in memory for the kernels."""

UNIT = 32
"""Outputs whose weights lie together."""
