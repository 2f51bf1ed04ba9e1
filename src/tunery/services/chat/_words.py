"""How a model to be served is written on a command line; imports nothing that takes time."""

from __future__ import annotations

from pathlib import Path


def split_served(words: str) -> tuple[str, str]:
    """Take ``NAME=MODEL`` apart; the name is empty where none was given."""
    name, sign, model = words.partition("=")
    given = bool(sign) and "/" not in name and not Path(words).exists()
    return (name, model) if given else ("", words)
