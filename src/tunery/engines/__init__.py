"""Engines as their callers see them: the protocol, the kinds, and the process behind each."""
