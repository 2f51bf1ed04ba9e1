"""The built-in chat templates: their names, aliases, sources and required tokens."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunery import env
from tunery.chat import refusals
from tunery.errors import unknown_name
from tunery.i18n import t
from tunery.types import is_object

ALIASES = {
    "qwen": "qwen2.5",
    "qwen2": "qwen2.5",
    "llama3.1": "llama3",
    "llama3.2": "llama3",
    "llama3.3": "llama3",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "phi3": "phi",
    "deepseek3": "deepseek",
    "deepseekr1": "deepseek",
    "smollm2": "chatml",
    "plain": "alpaca",
}

TOOL_TOKENS = {"mistral": ("[TOOL_CALLS]", "[TOOL_RESULTS]")}
"""Tokens required for tool calls only, by template name."""


OWN_WITH_TOOLS = "own+hermes"
"""The tokenizer's own template, preceded by a part that writes tools as text. ``find`` returns that
part."""


@dataclass(frozen=True, slots=True)
class Source:
    """A template's text and the fields of its header.

    Args:
        name: Built-in name, file name, or ``tokenizer``.
        text: Jinja source.
        needs: Spellings that must be single tokens of the tokenizer.
        stops: Spellings that end an answer, in addition to those that are detected.
    """

    name: str
    text: str
    needs: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


def names() -> list[str]:
    """Names of the built-in templates."""
    folder = resources.files("tunery.chat") / "templates"
    return sorted(
        file.name.removesuffix(".jinja")
        for file in folder.iterdir()
        if file.name.endswith(".jinja")
    )


def choices() -> list[str]:
    """Template names that can be chosen (a file path is allowed too)."""
    return [*names(), OWN_WITH_TOOLS]


def find(name: str) -> Source:
    """Find a built-in template by name or alias, or read a ``.jinja`` file.

    Raises:
        UnknownName: No such name.
        ModelError: The file cannot be read.
    """
    if name.endswith((".jinja", ".jinja2", ".j2")) or "/" in name:
        try:
            path = env.expanded(name)
            if env.is_special(path):
                raise ValueError(t("a pipe, socket or device"))
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise refusals.unreadable(name, error, names()) from error
        return _with_header(Path(name).name, text)
    if name == OWN_WITH_TOOLS:
        return _builtin("tools/hermes")
    known = names()
    chosen = ALIASES.get(name, name)
    if chosen not in known:
        raise unknown_name("template", name, [*known, *ALIASES, OWN_WITH_TOOLS])
    return _builtin(chosen)


def with_tools(tokens: Collection[str]) -> list[str]:
    """Names of the built-in templates that write tool calls, for a tokenizer with these tokens."""
    return [
        source.name
        for source in map(_builtin, names())
        if "tool_calls" in source.text
        and all(token in tokens for token in TOOL_TOKENS.get(source.name, source.needs))
    ]


@functools.cache
def _builtin(name: str) -> Source:
    file = resources.files("tunery.chat") / "templates" / f"{name}.jinja"
    return _with_header(name, file.read_text(encoding="utf-8"))


def _with_header(name: str, text: str) -> Source:
    def listed(key: str) -> tuple[str, ...]:
        found = re.search(rf"^\s*{key}: (.+)$", text.partition("#}")[0], re.MULTILINE)
        return tuple(found.group(1).split()) if found else ()

    return Source(name, text, listed("needs"), listed("stops"))


def own_source(tokenizer: Any) -> str:
    """The chat template that comes with a tokenizer."""
    return tokenizer.get_chat_template()


def tool_source(tokenizer: Any) -> str | None:
    """The separate template for rows with tools that comes with a tokenizer, or None."""
    sources: Any = tokenizer.chat_template
    return sources.get("tool_use") if is_object(sources) else None


def with_bos(source: Source, tokenizer: Any) -> Source:
    """Add BOS to a template without one if the tokenizer puts BOS before every text."""
    adds = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer.encode("")
    if not adds or "bos_token" in source.text:
        return source
    text = "{{- bos_token -}}\n" + source.text
    return Source(source.name, text, source.needs, source.stops)
