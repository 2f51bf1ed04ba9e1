"""Facts read from a model folder: context length, chat template, special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.models import files

CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx",
    "context_length",
)  # fmt: skip
COUNTED_FROM_PADDING = frozenset({
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Types whose positions start after the padding token's id."""
UNBOUNDED = 1 << 20
"""The context length, in tokens, to use for a model that declares none, such as a recurrent one."""
EXTENDS = ("linear", "dynamic", "yarn")
"""RoPE scalings whose ``factor`` multiplies the positions that a config declares."""
SPECIAL_KEYS = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """Facts from the tokenizer's config.

    Args:
        template: The chat template; empty if there is none.
        special: Special tokens by role, such as ``eos_token``.
        present: Whether the folder has a tokenizer.
    """

    template: str
    special: dict[str, str]
    present: bool


def context_length(config: dict[str, Any]) -> int | None:
    """The number of positions of a model, from its ``config.json``.

    Returns:
        Tokens, including RoPE scaling if the config enables it; None if it declares no positions.
    """
    for source in (config, config.get("text_config") or {}):
        for key in CONTEXT_KEYS:
            value = source.get(key)
            if isinstance(value, int) and value > 0:
                return _scaled(source, value - _first_position(source))
    return None


def _first_position(config: dict[str, Any]) -> int:
    if config.get("model_type") not in COUNTED_FROM_PADDING:
        return 0
    padding = config.get("pad_token_id")
    return 1 + (padding if isinstance(padding, int) else 1)


def _scaled(config: dict[str, Any], declared: int) -> int:
    """The positions with RoPE scaling, as vLLM counts them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(rope, dict):
        return declared
    kind, factor = rope.get("rope_type") or rope.get("type"), rope.get("factor")
    if kind not in EXTENDS or not isinstance(factor, (int, float)):
        return declared
    original = rope.get("original_max_position_embeddings")
    return max(declared, int((original if isinstance(original, int) else declared) * factor))


def tokenizer_facts(folder: Path) -> TokenizerFacts:
    """Read the facts from the tokenizer's files, without loading the tokenizer."""
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
    if isinstance(value, list):  # several named templates
        named = {str(e.get("name")): e.get("template") for e in value if isinstance(e, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else ""


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, dict) else str(value)
