"""English and Chinese for people.

The English sentence in the code is the key and its only home; the files of ``locales/parts``,
one an area, map it to Chinese (help of settings: ``locales/config_zh.json``, by path).
``t("Run {name} is done.", name=...)`` gives the sentence in the language in force, which is that
of the request being answered, else ``--lang``, else TUNERY_LANG, else the locale. Machine output
(``--json``, events, logs) is never translated. A contract test finds every ``t("...")`` in the
code without a translation.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from importlib import resources
from typing import Any

LANGUAGES = ("en", "zh")
_chosen: str | None = None
_spoken: ContextVar[str | None] = ContextVar("tunery_language", default=None)


def set_language(name: str | None) -> None:
    """Fix the language for this process; None goes back to the environment."""
    global _chosen
    _chosen = name


@contextlib.contextmanager
def speaking(name: str) -> Generator[None]:
    """Speak a language for a while, in this thread or task and what it starts or awaits."""
    before = _spoken.set(name)
    try:
        yield
    finally:
        _spoken.reset(before)


def language() -> str:
    """Return ``en`` or ``zh``: the one spoken or set, else TUNERY_LANG, else the locale's."""
    chosen = _spoken.get() or _chosen
    if chosen:
        return chosen
    for variable in ("TUNERY_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def t(text: str, /, **values: Any) -> str:
    """Translate one sentence and fill its ``{name}`` places.

    Args:
        text: The English sentence, a literal, so that the contract test can find it.
        values: What to fill in.
    """
    return _filled(text, values)


def translated(english: str, /, **values: Any) -> str:
    """Translate text that is no literal here, such as a command's docstring or a phrase."""
    return _filled(english, values)


COUNTED = (
    "answers", "blanks", "bytes", "characters", "columns", "consents", "cores", "dimensions",
    "duplicates", "fields", "files", "groups", "items", "keys", "letters", "levels", "lines",
    "members", "messages", "minutes", "models", "ones", "parameters", "places", "problems",
    "prompts", "questions", "records", "remarks", "requests", "rows", "runs", "seconds",
    "sequences", "shards", "steps", "tags", "tensors", "times", "tokens", "topics", "updates",
    "values", "weights",
)  # fmt: skip
"""What English sentences count; the page's words.js has the same ones."""

_COUNT = re.compile(
    r"\{(\w+)(?::[^}]*)?\} (?:(?!of |in |and |to |or |at |for |the )[a-z]+ )?"
    rf"(?:{'|'.join(COUNTED)})\b(?: (?:are|were|have|wait)\b)?"
)
_ONE = {"are": "is", "were": "was", "have": "has", "wait": "waits"}


def agreed(english: str, values: Mapping[str, Any]) -> str:
    """Put what is counted into the singular where it is one: ``1 run deleted``."""

    def one(found: re.Match[str]) -> str:
        if str(values.get(found[1])) not in ("1", "1.0"):
            return found[0]
        *before, last = found[0].split(" ")
        if last in _ONE:
            return " ".join([*before[:-1], before[-1].removesuffix("s"), _ONE[last]])
        return " ".join([*before, last.removesuffix("s")])

    return _COUNT.sub(one, english)


def _filled(english: str, values: Mapping[str, Any]) -> str:
    if language() == "zh":
        text = _chinese().get(english, english)
    else:
        text = agreed(english, values)
    return text.format(**values) if values else text


@functools.cache
def _chinese() -> dict[str, str]:
    merged: dict[str, str] = {}
    for file in (resources.files("tunery") / "locales" / "parts").iterdir():
        if file.name.endswith(".json"):
            merged.update(json.loads(file.read_text(encoding="utf-8")))
    return merged
