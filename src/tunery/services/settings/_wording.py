"""Sentences as the page shows them: a setting is called by its field's label, not by its flag.

"Set --data.packing false" is right in a terminal and means nothing to someone who sees a form. Only
the sentence itself is read, before values are filled in, so that user input is never changed. A
sentence that names a command is replaced as a whole, see ``_page_sentences``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from tunery import i18n
from tunery.config import settings
from tunery.i18n import t
from tunery.services.settings import _forms
from tunery.services.settings._page_sentences import INSTEAD

_COMMAND = r"(?P<command>\btunery [a-z](?:[^,;:.()，；：。（）]|\.(?!\s|$))*)"
_NAMED = re.compile(
    _COMMAND + r"|(?<![\w./-])(?P<dashes>--)?(?P<path>[a-z_]+(?:\.(?:\w+|\{\w+\}))+)"
    r"(?:(?P<sign>=| to |[ ])"
    r"(?P<value>\{[^{}]*\}|\"[^\"]*\"|[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*))?"
)
_OPTION = re.compile(
    _COMMAND + r"|(?<![\w./-])--(?P<option>name|to|dtype|force)\b(?: (?P<value>[\w{}.-]*\w\}?))?"
)
_ROOM = re.compile(r"(?<=[\u4e00-\u9fff，。；：（]) (?=“)|(?<=”) (?=[\u4e00-\u9fff，。；：）])")
"""Space beside a quoted label in Chinese: it was right beside the flag that the label replaces."""
_VALUE = re.compile(r"[-+]?\d[\d.e+-]*|\{.*\}|true|false|null")


@dataclass(frozen=True, slots=True)
class Named:
    """A setting that a sentence names: the path as written, its owner, and the value next to it."""

    path: str
    owner: settings.Setting
    value: str | None


def named(sentence: str) -> list[Named]:
    """The settings that a sentence names; its values are not filled in yet."""
    return [found for match in _NAMED.finditer(sentence) if (found := _read(match))]


def for_the_page(sentence: str) -> str:
    """Replace the settings in a sentence with the labels of their fields, and remove code markup.

    Args:
        sentence: Translated; its values are not filled in yet.
    """
    return _worded(sentence.removeprefix("{code} "), i18n.language())


@functools.lru_cache(maxsize=4096)
def _worded(sentence: str, language: str) -> str:
    with i18n.speaking(language):
        sentence = _instead(language).get(sentence, sentence)
        said = _OPTION.sub(_option, _NAMED.sub(_field, sentence))
        return _ROOM.sub("", said) if language == "zh" else said


@functools.cache
def _instead(language: str) -> dict[str, str]:
    """The page's sentence by the terminal's, in a language; places not filled in."""
    with i18n.speaking(language), i18n.worded(None):
        return {
            i18n.translated(terminal): i18n.translated(page.template)
            for terminal, page in INSTEAD.items()
        }


def _field(match: re.Match[str]) -> str:
    found = _read(match)
    if found is None:
        return match[0]
    owner, inner = found.owner, found.path[len(found.owner.path) + 1 :]
    label = _forms.label_of(owner.key, owner.path)
    name = t("{label}: {entry}", label=label, entry=inner) if inner else label
    if found.value is None:
        return _quoted(name) + match[0][match.end("path") - match.start() :]
    return _quoted(t("{label} = {value}", label=name, value=_shown(found.value)))


def _option(match: re.Match[str]) -> str:
    """Replace a command option that the page has a field for."""
    rest = match["value"] or ""
    match match["option"]:
        case None:
            return match[0]
        case "force":
            return f"{_quoted(t('Replace an earlier export'))} {rest}".strip()
        case "dtype":
            return _quoted(t("{label} = {value}", label=t("Number format"), value=rest))
        case _:
            return _quoted(rest)


def _read(match: re.Match[str]) -> Named | None:
    if match["command"]:
        return None
    owner = settings.find(re.sub(r"\{\w+\}", "x", match["path"]))
    if owner is None:
        return None
    value = match["value"]
    if value is not None and match["sign"] != "=" and not _VALUE.fullmatch(value):
        # In "--data.format alpaca" a value follows, in "model.template out" an ordinary word.
        value = value if match["dashes"] and match["sign"] == " " else None
    return Named(match["path"], owner, value)


def _shown(value: str) -> str:
    return {"true": t("on"), "false": t("off"), "null": t("none")}.get(value, value)


def _quoted(text: str) -> str:
    return f"“{text}”"
