"""Translation of user-facing text: English and Chinese.

The English sentence in the code is the key and its only source; the files in ``locales/parts``, one
per area, map it to Chinese (help of settings: ``locales/config_zh.json``, by path).
``t("Run {name} is done.", name=...)`` returns the sentence in the current language: that of the
current request, otherwise ``--lang``, TUNERY_LANG or the locale. Machine-readable output
(``--json``, events, logs) is never translated. A contract test finds every ``t("...")`` in the
code without a translation.

A ``Phrase`` is a sentence that is not rendered yet: its template and the values to fill in. ``t``
returns a ``Sentence``: text that remembers its phrase, so that text written by one process in its
language can be rendered again in the language of the reader (decision 0013).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, cast

LANGUAGES = ("en", "zh")
_chosen: str | None = None
_spoken: ContextVar[str | None] = ContextVar("tunery_language", default=None)
_wording: ContextVar[Callable[[str], str] | None] = ContextVar("tunery_wording", default=None)


def set_language(name: str | None) -> None:
    """Set the language of this process; None returns to the environment's."""
    global _chosen
    _chosen = name


@contextlib.contextmanager
def speaking(name: str) -> Generator[None]:
    """Use a language inside this context, in this thread or task and what it starts or awaits."""
    before = _spoken.set(name)
    try:
        yield
    finally:
        _spoken.reset(before)


@contextlib.contextmanager
def worded(by: Callable[[str], str] | None) -> Generator[None]:
    """Reword every sentence inside this context, in this thread or task and what it starts.

    Args:
        by: Rewords a translated sentence whose placeholders are not yet filled in.
    """
    before = _wording.set(by)
    try:
        yield
    finally:
        _wording.reset(before)


def wording() -> str:
    """What ``worded`` says sentences by now, as ``module:name``, for another process; or empty."""
    by = _wording.get()
    return f"{by.__module__}:{by.__qualname__}" if by is not None else ""


def voice() -> tuple[str, str]:
    """The current language and wording: the key under which rendered sentences may be cached."""
    return language(), wording()


def again(text: str) -> str:
    """A sentence that was said before, in the current language and wording; plain text as it is."""
    phrase = phrase_of(text)
    return text if phrase is None else Sentence(phrase.local(), phrase)


def language() -> str:
    """Return ``en`` or ``zh``: from the context or process, else TUNERY_LANG, else the locale."""
    chosen = _spoken.get() or _chosen
    if chosen:
        return chosen
    for variable in ("TUNERY_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence with placeholders; the template is the key of its translation."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        values = {name: english(value) for name, value in self.values.items()}
        if _IN_A_ROW.fullmatch(self.template):
            return _in_a_row(values.values(), map(_is_plain, self.values.values()))
        return agreed(self.template, values).format(**values) if values else self.template

    def local(self) -> str:
        """The sentence, translated, including the phrases in its values."""
        if _IN_A_ROW.fullmatch(self.template):
            wide = language() == "zh"
            parts = self.values.values()
            return _in_a_row(map(_local, parts), (wide or _is_plain(p) for p in parts))
        return translated(self.template, **{n: _local(v) for n, v in self.values.items()})

    def stored(self) -> list[Any]:
        """The phrase as JSON data."""
        return [self.template, {name: _stored(value) for name, value in self.values.items()}]

    @classmethod
    def of(cls, stored: Sequence[Any]) -> Phrase:
        """Parse the output of ``stored``.

        Raises:
            ValueError, TypeError, AttributeError: It is not a phrase.
        """
        template, values = stored
        found = {
            str(name): cls.of(cast("list[Any]", value)) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(str(template), found)


class Sentence(str):
    """A phrase in one language, which remembers the phrase."""

    __slots__ = ("phrase",)
    phrase: Phrase

    def __new__(cls, text: str, phrase: Phrase) -> Sentence:
        """Create a sentence from its text and the phrase behind it."""
        made = super().__new__(cls, text)
        made.phrase = phrase
        return made

    def __add__(self, other: str, /) -> Sentence:
        return Sentence(str.__add__(self, other), Phrase("{a}{b}", {"a": self, "b": other}))

    def __radd__(self, other: str, /) -> Sentence:
        return Sentence(other + str(self), Phrase("{a}{b}", {"a": other, "b": self}))

    def __reduce__(self) -> tuple[Any, ...]:
        return Sentence, (str(self), self.phrase)


def t(text: str, /, **values: Any) -> str:
    """Translate one sentence and fill in its ``{name}`` placeholders; returns a ``Sentence``.

    Args:
        text: The English sentence, a literal, so that the contract test can find it.
        values: Values of the placeholders.
    """
    phrase = Phrase(text, values)
    return Sentence(phrase.local(), phrase)


def joined(*sentences: str | Phrase, between: str | None = None) -> Sentence:
    """Join sentences; empty ones are left out.

    An f-string or ``str.join`` would turn them into plain text in the current language; this
    remembers their phrases, so that another process or a later reader can render them again.

    Args:
        sentences: The sentences, in order.
        between: Separator between two sentences. By default each but the last ends with a full
            stop, unless it has end punctuation, and a space follows where the language has one.
    """
    parts = [part for part in sentences if str(part)]
    between = ". " if between is None else between
    phrase = Phrase(
        between.join(f"{{part{number}}}" for number in range(len(parts))),
        {f"part{number}": part for number, part in enumerate(parts)},
    )
    return Sentence(phrase.local(), phrase)


def either(words: Sequence[str]) -> str:
    """The choices as ``a, b or c``; empty for none."""
    if len(words) < 2:
        return "".join(words)
    return t("{first} or {last}", first=", ".join(words[:-1]), last=words[-1])


_LISTED = re.compile(r"\{part0\}(?:(; |, )\{part\d+\})(?:\1\{part\d+\})*")
_LIST_SIGNS = {"; ": "；", ", ": "、"}
_IN_A_ROW = re.compile(r"\{part0\}(?:\. \{part\d+\})+")
"""The phrase of ``joined``: where its full stops go depends on what the parts end with."""

_ENDED = re.compile(r"[.!?:;,…。！？：；，][\"')\]”’」』）]*$")
_CLOSED_WIDE = re.compile(r"[。！？：；，][”’」』）]*$")


def _in_a_row(parts: Iterable[Any], wide: Iterable[bool]) -> str:
    """Sentences one after the other, each but the last ended.

    Args:
        parts: The sentences.
        wide: For each, whether the stop after it is ``。`` if it has Chinese characters.
    """
    text, before = "", False
    for part, may_be_wide in zip(map(str, parts), wide, strict=True):
        text = text.rstrip(" ")
        if text and not _ENDED.search(text):
            text += "。" if before and _has_chinese(text) else "."
        text += part if not text or _CLOSED_WIDE.search(text) else f" {part}"
        before = may_be_wide
    return text


def _is_plain(part: Any) -> bool:
    """Whether a part is not a phrase, so that its characters alone tell its language."""
    return phrase_of(part) is None


def _has_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def say(template: str, /, **values: Any) -> Phrase:
    """Create a phrase; the template is a literal, so that a test can find its translation."""
    return Phrase(template, values)


def translated(english: str, /, **values: Any) -> str:
    """Translate text that is not a literal, such as a command's docstring or a phrase."""
    return _filled(english, values)


COUNTED = (
    "answers", "blanks", "bytes", "characters", "columns", "consents", "cores", "days",
    "dimensions", "downloads", "duplicates", "evaluations", "fields", "files", "groups", "items",
    "keys", "layers", "letters", "levels", "lines", "members", "messages", "minutes", "models",
    "notes", "ones", "parameters", "placeholders", "places", "problems", "prompts", "questions",
    "records", "remarks", "requests", "rows", "runs", "seconds", "sequences", "shards", "steps",
    "tags", "tensors", "times", "tokens", "topics", "updates", "values", "warnings", "weights",
)  # fmt: skip
"""Nouns that English sentences count; words.js of the page has the same list."""

_COUNT = re.compile(
    r"\{(\w+)(?::[^}]*)?\} (?:(?!of |in |and |to |or |at |for |the )[a-z]+ )?"
    rf"(?:{'|'.join(COUNTED)})\b(?: (?:are|were|have|wait)\b)?"
)
_ONE = {"are": "is", "were": "was", "have": "has", "wait": "waits"}


def agreed(english: str, values: Mapping[str, Any]) -> str:
    """Use the singular if a count is one: ``1 run deleted``."""

    def one(found: re.Match[str]) -> str:
        if str(values.get(found[1])) not in ("1", "1.0"):
            return found[0]
        *before, last = found[0].split(" ")
        if last in _ONE:
            return " ".join([*before[:-1], before[-1].removesuffix("s"), _ONE[last]])
        return " ".join([*before, last.removesuffix("s")])

    return _COUNT.sub(one, english)


def _filled(english: str, values: Mapping[str, Any]) -> str:
    in_chinese = language() == "zh"
    if in_chinese:
        listed = _LISTED.fullmatch(english)
        if listed:
            text = english.replace(listed[1], _LIST_SIGNS[listed[1]])
        else:
            text = _chinese().get(english, english)
    else:
        text = english
    by = _wording.get()
    if by is not None:
        with worded(None):
            text = by(text)
    if not in_chinese:
        text = agreed(text, values)
    return text.format(**values) if values else text


def english(value: Any) -> Any:
    """The value in English, for machines; unchanged if it is neither a phrase nor a sentence."""
    phrase = phrase_of(value)
    return value if phrase is None else str(phrase)


def retold(said: Mapping[str, Any], name: str) -> str:
    """Render a stored sentence in the current language.

    Args:
        said: The stored data: the English text by name, and its phrase under ``phrases``.
        name: Name of the text; the result is empty if nothing is stored under it.
    """
    kept = str(said.get(name) or "")
    try:
        phrase = Phrase.of(said["phrases"][name])
        return Sentence(phrase.local(), phrase)
    except (TypeError, ValueError, AttributeError, LookupError):  # plain text, or another version
        return kept


def phrase_of(value: Any) -> Phrase | None:
    """The phrase that a value is or carries; None for plain text and other values."""
    if isinstance(value, Phrase):
        return value
    return value.phrase if isinstance(value, Sentence) else None


def _local(value: Any) -> Any:
    phrase = phrase_of(value)
    return value if phrase is None else phrase.local()


def _stored(value: Any) -> Any:
    phrase = phrase_of(value)
    if phrase is not None:
        return phrase.stored()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@functools.cache
def _chinese() -> dict[str, str]:
    merged: dict[str, str] = {}
    for file in (resources.files("tunery") / "locales" / "parts").iterdir():
        if file.name.endswith(".json"):
            merged.update(json.loads(file.read_text(encoding="utf-8")))
    return merged
