"""Help pages and errors of invalid command lines, in the user's language.

Translates what the command parser prints; the settings' help comes from
``tunery.config.settings``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel
from rich.text import Text

from tunery.cli.console import out
from tunery.cli.wrapping import prose, wrapped
from tunery.errors import TuneryError
from tunery.i18n import language, t, translated


class TranslatedFormatter(DefaultFormatter):
    """The parser's help page, with every docstring in the current language."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """Print one panel."""
        titles = {
            "Commands": t("Commands"),
            "Parameters": t("Options"),
            "Arguments": t("Arguments"),
        }
        title = titles.get(str(panel.title), panel.title)
        entries = [_translate(entry) for entry in panel.entries]
        super().__call__(console, options, panel.copy(title=title, entries=entries))

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        """Print the usage line."""
        if usage:
            words = str(usage).strip().removeprefix("Usage:").strip()
            if language() == "zh":
                words = words.replace("[OPTIONS]", "[选项]").replace("COMMAND", "命令")
            console.print(Text.assemble((t("Usage: "), "bold"), words))

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """Print what the command does."""
        if words := _in_language(description):
            text = Text(f"{words}\n")
            console.print(wrapped(text, console.width) if console.is_terminal else text)


def explain(error: CycloptsError) -> TuneryError:
    """Turn a parser error into one of Tunery's own."""
    help_line = t(
        "See: {command} --help", command=" ".join(["tunery", *(error.command_chain or ())])
    )
    match error:
        case UnknownOptionError():
            name = (error.token.keyword or error.token.value).split("=")[0]
            known = [n for a in error.argument_collection if a.parse for n in a.names]
            message = t("{name}: no such option.", name=name)
            fix = f"{_near(name, known)} {help_line}"
        case UnknownCommandError() | UnusedCliTokensError():
            name = (error.unused_tokens or [""])[0]
            known = [n for n in (error.app or App()) if not n.startswith("-")]
            message = t("{name!r}: unexpected argument.", name=name)
            listed = t("Commands: {names}.", names=", ".join(known)) if known else ""
            fix = f"{_near(name, known)} {listed} {help_line}"
        case MissingArgumentError() if error.argument is not None:
            message = t("{name}: a value is missing.", name=error.keyword or error.argument.name)
            fix = help_line
        case RepeatArgumentError():
            message = t("{name}: given more than once.", name=error.token.keyword)
            fix = help_line
        case CoercionError() if error.token is not None and error.argument is not None:
            message = t(
                "{name}: {found!r} is not valid; expected {kind}.",
                name=error.token.keyword or error.argument.name,
                found=error.token.value,
                kind=_kind(error),
            )
            fix = help_line
        case _:
            error.verbose = False
            message, fix = str(error), help_line
    return TuneryError(message, fix=" ".join(fix.split()))


def asks_for_settings(words: Sequence[str]) -> bool:
    """Whether this is the help page of a command that takes settings."""
    return words[0] in ("train", "plan") and bool({"--help", "-h"} & set(words))


def print_settings(prefix: str = "") -> None:
    """Print every setting (or those under ``prefix``) with its help."""
    from tunery.config.help import WIDTH, help_table

    width = min(WIDTH, out.width) if out.is_terminal else WIDTH
    prose(out, help_table(prefix=prefix, width=width))


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return t("Did you mean {name}?", name=near[0]) if near else ""


def _kind(error: CoercionError) -> str:
    from typing import Literal, get_args, get_origin

    wanted = error.target_type
    if get_origin(wanted) is Literal:
        return ", ".join(map(str, get_args(wanted)))
    names = {int: t("a whole number"), float: t("a number"), bool: t("true or false")}
    return names.get(wanted) or getattr(wanted, "__name__", str(wanted))  # type: ignore[arg-type]


def _translate(entry: HelpEntry) -> HelpEntry:
    """Return an entry with text, choices and default in the current language."""
    text = Text(_in_language(entry.description))
    if entry.choices:
        text.append(" " + t("[one of {names}]", names=", ".join(entry.choices)), "dim")
    if entry.default not in (None, "False", "None", "[]", "()"):
        text.append(" " + t("[default: {value}]", value=entry.default), "dim")
    if entry.required:
        text.append(" " + t("[required]"), "red")
    return entry.copy(description=text, choices=None, default=None, required=False)


def _in_language(description: Any) -> str:
    """Translate a docstring paragraph by paragraph; its line breaks are removed."""
    inner = getattr(description, "primary_renderable", description)
    text = str(getattr(inner, "plain", inner or ""))
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(translated(paragraph) for paragraph in paragraphs)
