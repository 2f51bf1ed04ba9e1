"""Tunery: the workshop in which people fine-tune language models.

The package root owns the version and nothing else, so that importing it costs nothing.
"""

__version__ = "0.1.0"
