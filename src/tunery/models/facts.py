"""What a model folder says about itself: architecture, size, context, template, special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.models import files

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
SPECIAL_KEYS = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What the tokenizer's config says.

    Args:
        template: The chat template; empty where there is none.
        special: Special tokens by role, such as ``eos_token``.
        present: Whether there is a tokenizer at all.
    """

    template: str
    special: dict[str, str]
    present: bool


def context_length(config: dict[str, Any]) -> int | None:
    """The longest context that a ``config.json`` declares."""
    for source in (config, config.get("text_config") or {}):
        for key in CONTEXT_KEYS:
            value = source.get(key)
            if isinstance(value, int) and value > 0:
                return value
    return None


def tokenizer_facts(folder: Path) -> TokenizerFacts:
    """Read what the tokenizer's files say, without building it."""
    present = any((folder / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json"))
    config: dict[str, Any] = {}
    try:
        config = files.read_json(folder / "tokenizer_config.json")
    except ModelError:
        present = (folder / "tokenizer.json").is_file()
    special = {key: _token(config[key]) for key in SPECIAL_KEYS if config.get(key)}
    return TokenizerFacts(_template(folder, config), special, present)


def _template(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size <= 2**20:
        return file.read_text(encoding="utf-8", errors="replace")
    value = config.get("chat_template")
    if isinstance(value, list):  # several named templates: the one called default
        named = {str(e.get("name")): e.get("template") for e in value if isinstance(e, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else ""


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, dict) else str(value)
