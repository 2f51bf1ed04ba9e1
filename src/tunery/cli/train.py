"""`tunery train` and `tunery plan`: start a run from settings, or show what it would do."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from tunery.cli import plan as planned
from tunery.cli.console import err, out, print_json
from tunery.cli.live import print_line
from tunery.cli.preparing import preparing
from tunery.cli.watch import watch
from tunery.cli.wrapping import prose
from tunery.commands import command
from tunery.config.load import Loaded, dump, from_tokens
from tunery.i18n import t
from tunery.runs.folder import RunFolder
from tunery.services import runs, words

app = App(
    name="train",
    help=t("Train a model and compare it before and after."),
    usage="tunery train [FILE.yaml ...] [--preset NAME] [--section.field VALUE ...] [OPTIONS]",
)
plan_app = App(
    name="plan",
    help=t("Show what a run would do and need without starting it."),
    usage="tunery plan [FILE.yaml ...] [--preset NAME] [--section.field VALUE ...] [OPTIONS]",
)

Tokens = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
TRAIN_OPTIONS = ("--name", "--detach", "--dry-run", "--json")
PLAN_OPTIONS = ("--measure", "--json")


@app.default
def train(
    *tokens: Tokens,
    name: str | None = None,
    detach: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model and compare it before and after.

    Ctrl-C saves and stops; a second Ctrl-C detaches while the run saves in the background.

    Args:
        tokens: Settings files and settings.
        name: Name of the run; built from date, data and method by default.
        detach: Start in the background and return immediately.
        dry_run: Show the settings and the plan without starting.
        json: Print events as JSON lines; the last one is the outcome.
    """
    loaded = from_tokens(tokens, options=TRAIN_OPTIONS)
    if dry_run:
        return _dry_run(loaded, name, as_json=json)
    show = partial(_rows, err if detach else out)  # with --detach, stdout has only the name
    with preparing(as_json=json, rows=show) as to:
        folder = runs.prepare(loaded, name, to=to)
    runs.start(folder)
    if detach:
        return _detached(folder, as_json=json)
    if json:
        print_line({"type": "prepared", "name": folder.name, "folder": str(folder.path)})
    else:
        prose(out, Text.assemble((folder.name, "bold"), (f"  {folder.path}", "dim")))
    return watch(folder, as_json=json, checked=True)


@plan_app.default
def plan(
    *tokens: Tokens,
    measure: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what a run would do and need, without starting it.

    Exits with 1 if the run would not fit this machine.

    Args:
        tokens: Settings files and settings, as for tunery train.
        measure: Run a few real steps and an evaluation to measure memory and time.
        json: Print one JSON object.
    """
    loaded = from_tokens(tokens, options=PLAN_OPTIONS)
    with preparing(as_json=json) as to:
        made = runs.plan(loaded, measure=measure, to=to)
    if json:
        print_json(made.as_dict())
    else:
        planned.show(made)
    return 0 if made.fits else 1


def _dry_run(loaded: Loaded, name: str | None, *, as_json: bool) -> int:
    with preparing(as_json=as_json) as to:
        made = runs.plan(loaded, name=name, to=to)
    if as_json:
        print_json({"config": loaded.config.model_dump(mode="json"), "plan": made.as_dict()})
    else:
        out.print(Text(dump(loaded.config)), soft_wrap=True)
        planned.show(made)
    return 0 if made.fits else 1


def _detached(folder: RunFolder, *, as_json: bool) -> int:
    if as_json:
        print_json(runs.outcome(folder).state.as_dict())
        return 0
    out.print(Text(folder.name, style="bold"))
    for act in ("follow", "stop"):
        prose(err, Text(f"  {command('runs', act, folder.name)}", style="cyan"))
    return 0


def _rows(console: Console, ledger: dict[str, Any]) -> None:
    prose(console, Text(words.rows_line(ledger)))
