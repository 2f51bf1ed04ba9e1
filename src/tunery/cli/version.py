"""`tunery version`: the versions of Tunery and its dependencies."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from tunery.cli.console import out, print_json
from tunery.i18n import t
from tunery.services.machine import versions

app = App(name="version", help=t("Show the versions of Tunery, Python, torch and other packages."))


@app.default
def version(
    *, json: Annotated[bool, Parameter(negative="", help=t("Print JSON."))] = False
) -> None:
    """Print the versions.

    Args:
        json: Print one JSON object.
    """
    found = versions()
    if json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        out.print(f"{name:<{width}}  {value or t('not installed')}", highlight=False, markup=False)
