"""`tunery config`: show, explain and compare settings, and print their JSON schema."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from tunery.cli.console import out, print_json, print_warning
from tunery.cli.help import print_settings
from tunery.i18n import language, t

app = App(name="config", help=t("Show, explain and compare settings."))

Words = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
Json = Annotated[bool, Parameter(negative="", help=t("Print JSON."))]


@app.command
def show(
    *words: Words,
    origins: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Show the settings that result from files, flags and a preset: [FILES] [--section.name VALUE].

    Args:
        words: Settings files and flags.
        origins: Show the source of each value.
        json: Print JSON.
    """
    from tunery.config import load
    from tunery.services import settings

    loaded = load.from_tokens(words, options=["--origins", "--json", "--help"])
    if json:
        values = loaded.config.model_dump(mode="json")
        print_json({"config": values, "origins": loaded.origins, "warnings": loaded.warnings})
        return
    if origins:
        table = _table(t("setting"), t("value"), t("source"))
        for row in settings.rows(loaded):
            style = "dim" if row.origin == "default" else ""
            value = escape(settings.written(row.value))
            table.add_row(escape(row.path), value, escape(row.origin), style=style)
        out.print(table)
    else:
        out.print(load.dump(loaded.config), end="", markup=False, soft_wrap=True)
    for warning in loaded.warnings:
        print_warning(warning)


@app.command(name="help")
def help_(prefix: str = "", /, *, json: Json = False) -> None:
    """Explain all settings or those of one section.

    Args:
        prefix: A section or a setting, such as adapter or data.replay.
        json: Print JSON.
    """
    from tunery.services import settings

    found = settings.listed(prefix)
    if json:
        print_json([setting.as_dict(language()) for setting in found])
    else:
        print_settings(prefix)


@app.command
def schema() -> None:
    """Print the JSON schema of a settings file, for editors."""
    from tunery.config.schema import json_schema

    print_json(json_schema(language()))


@app.command
def diff(left: str, right: str, /, *, json: Json = False) -> None:
    """Compare two sets of settings.

    Args:
        left: A settings file, a preset, a run or a run folder.
        right: Another one to compare with.
        json: Print JSON.
    """
    from tunery.services import settings

    found = settings.diff(left, right)
    if json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        out.print(t("No difference."))
        return
    table = _table(t("setting"), escape(left), escape(right))
    for each in found:
        values = (escape(settings.written(value)) for value in (each.left, each.right))
        table.add_row(escape(each.path), *values)
    out.print(table)


@app.command
def presets(*, json: Json = False) -> None:
    """List the presets, which are sets of settings to start from.

    Args:
        json: Print JSON.
    """
    from tunery.services import settings

    found = settings.presets()
    if json:
        print_json(found)
        return
    for name, about in found.items():
        out.print(f"{name:<12} {about}", markup=False)


def _table(*titles: str) -> Table:
    """A table in which a long value is wrapped, never cut."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
