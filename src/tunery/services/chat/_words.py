"""How a model to serve is written on the command line; imports nothing slow."""

from __future__ import annotations

from pathlib import Path


def split_served(words: str) -> tuple[str, str]:
    """Split ``NAME=MODEL``; the name is empty if none was given."""
    name, sign, model = words.partition("=")
    given = bool(sign) and "/" not in name and not Path(words).exists()
    return (name, model) if given else ("", words)
