"""Engines from the caller's perspective: the protocol, the kinds, and their processes."""
