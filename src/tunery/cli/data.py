"""`tunery data`: list, check, preview, add and remove datasets."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from tunery.cli.columns import Column, fitted
from tunery.cli.console import err, out, print_json, print_warning
from tunery.cli.data_preview import preview
from tunery.cli.wrapping import prose
from tunery.config.flags import names_among
from tunery.config.load import Loaded, from_tokens
from tunery.errors import ConfigError
from tunery.i18n import t, translated

if TYPE_CHECKING:
    from tunery.config.data import DataConfig
    from tunery.data.lint.report import Report

app = App(name="data", help=t("List, check, preview, add and remove datasets."))
app.command(preview)

Json = Annotated[bool, Parameter(negative="")]
Settings = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
COLORS = {"E": "bold red", "W": "bold yellow", "N": "bold cyan"}
OPTIONS = ("--json", "--report", "--format", "--columns", "--catalog", "--copy")


@app.command(name="list")
def list_(*, catalog: Path | None = None, json: Json = False) -> None:
    """List named datasets: built in, added, and those of a catalog.

    Args:
        catalog: Folder with a LLaMA-Factory dataset_info.json whose datasets are listed too.
        json: Print JSON.
    """
    from tunery.services.datasets import listing

    found = listing(catalog)
    if json:
        print_json(found)
        return
    columns = [
        Column(t("name")),  # a path is never shortened
        Column(t("source"), gives_way=2),
        Column(t("format"), gives_way=3),
        Column(t("rows"), gives_way=1, right=True),
        Column(t("what"), fills=True),
    ]
    lines: list[list[Text]] = []
    sources = {
        "builtin": t("built in"),
        "added": t("added"),
        "catalog": t("catalog"),
        "hub": t("hub"),
        "cloud": t("cloud"),
    }
    for each in found:
        rows = f"{each['rows']:,}" if each["rows"] is not None else ""
        what = translated(each["description"])
        if not each["ok"]:
            named = [str(each["name"])]
            if catalog is not None and each["source"] == "catalog":
                named += ["--catalog", str(catalog)]
            what = t(
                "cannot be used for training; see: tunery data check {name}", name=shlex.join(named)
            )
        source = sources.get(each["source"], each["source"])
        cells = (each["name"], source, each["format"] or "", rows, what)
        lines.append([Text(str(cell)) for cell in cells])
    out.print(fitted(out, columns, lines), crop=False, soft_wrap=True)
    prose(
        out,
        Text(
            t("Any data file or folder can be used by its path, a hub dataset as hf:owner/name."),
            "dim",
        ),
    )


@app.command
def check(
    name: str,
    /,
    *settings: Settings,
    format: str | None = None,
    columns: str | None = None,
    catalog: Path | None = None,
    report: Path | None = None,
    json: Json = False,
) -> int:
    """Read every row of one or more datasets and report every problem.

    Exits with 0 if a run could start and with 2 if a problem would stop it. Every setting of the
    data section works here, such as --data.records_at data. --method.type also checks that the
    method can learn from these rows; --model.name also checks that the model's chat template can
    render each row and that no row is too long.

    Args:
        name: A name, a file, a folder, or hf:owner/name[:subset][@split]; may be repeated.
        format: Format of the rows; detected from the first rows by default.
        columns: Column names, as ours=theirs,ours=theirs.
        catalog: Folder with a LLaMA-Factory dataset_info.json whose names may be used.
        report: File for the full report as JSON.
        json: Print JSON.
    """
    from tunery.services import datasets

    more, settings_ = names_among(settings)
    names = list(dict.fromkeys([name, *more]))
    loaded = _loaded(tuple(settings_), format, columns, catalog)
    several, refused = len(names) > 1, False
    found: list[Report] = []
    remarks: list[list[str] | None] = []
    told: list[dict[str, Any]] = []
    for each in names:
        checked, notes = _checked(each, loaded, quiet=json)
        found.append(checked)
        remarks.append(notes)
    datasets.only_common(found)
    for checked, notes in zip(found, remarks, strict=True):
        told.append(checked.as_dict() | ({"notes": notes} if notes is not None else {}))
        refused = refused or bool(checked.refusal)
        if not json:
            _show(checked)
            for note in notes or ():
                print_warning(note)
    if report is not None:
        datasets.write_report(found, report)
    if json:
        print_json({"datasets": told} if several else told[0])
    return 2 if refused else 0


def _checked(name: str, loaded: Loaded, *, quiet: bool) -> tuple[Report, list[str] | None]:
    """Check one dataset; if a model is given, with it, and then with notes about it."""
    from tunery.services import datasets

    config = loaded.config
    wanted = config.method.rows if _asked(loaded, "method") else None
    with _progress(not quiet) as progress:
        if not _asked(loaded, "model"):
            return datasets.check(name, config.data, wanted=wanted, progress=progress), None
        found = datasets.check_with_model(name, config, wanted=wanted, progress=progress)
    return found, datasets.notes_with_model(name, config) if found.ok else None


@app.command
def add(
    name: str,
    path: str,
    /,
    *settings: Settings,
    format: str | None = None,
    columns: str | None = None,
    catalog: Path | None = None,
    copy: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Check a file, a folder or a hub dataset and give it a name.

    The path is stored with its reading settings and a hash of its content.

    Args:
        name: Name of the dataset.
        path: A file, a folder, or hf:owner/name.
        format: Format of the rows; detected from the first rows by default.
        columns: Column names, as ours=theirs,ours=theirs.
        catalog: Folder with a LLaMA-Factory dataset_info.json whose names may be used.
        copy: Keep a copy under TUNERY_HOME.
        json: Print JSON.
    """
    from tunery.services import datasets

    entry = datasets.add(name, path, _config(settings, format, columns, catalog), copy=copy)
    if json:
        print_json(entry)
        return
    line = t(
        "{name}: {rows} rows, format {format}.",
        name=name,
        rows=f"{entry['rows']:,}",
        format=entry["reading"]["format"],
    )
    prose(out, Text(line))
    prose(out, Text(t("Train on it: --data.train {name}", name=name), "dim"))


@app.command
def remove(name: str, /, *, json: Json = False) -> None:
    """Remove a dataset's name. Its files are kept, unless `add --copy` made them.

    Args:
        name: The name given with `add`.
        json: Print JSON.
    """
    from tunery.services import datasets

    gone = datasets.remove(name)
    if json:
        print_json(gone)
        return
    line = (
        t("{name} was removed and its copy deleted.", name=name)
        if gone["deleted"]
        else t("{name} was removed; {path} was not changed.", name=name, path=gone["path"])
    )
    prose(out, Text(line))


def _asked(loaded: Loaded, section: str) -> bool:
    """Whether any setting of a section was given."""
    return any(
        path.partition(".")[0] == section and origin != "default"
        for path, origin in loaded.origins.items()
    )


def _config(
    settings: tuple[str, ...], format: str | None, columns: str | None, catalog: Path | None
) -> DataConfig:
    """The data section, from the command's own options and the settings given with them."""
    return _loaded(settings, format, columns, catalog).config.data


def _loaded(
    settings: tuple[str, ...], format: str | None, columns: str | None, catalog: Path | None
) -> Loaded:
    words = list(settings)
    if format is not None:
        words += ["--data.format", format]
    if catalog is not None:
        words += ["--data.catalog", str(catalog)]
    if columns is not None:
        words += _columns(columns)
    return from_tokens(words, options=OPTIONS)


def _columns(text: str) -> Iterator[str]:
    """The settings that ``--columns`` stands for: pairs with ``=``, or an object."""
    if text.lstrip().startswith("{"):
        yield from ("--data.columns", text)
        return
    for pair in text.split(","):
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not ours or not theirs:
            raise ConfigError(
                t("--columns {text}: expected ours=theirs.", text=pair.strip()),
                fix=t("Write --columns instruction=question,output=answer."),
            )
        yield f"--data.columns.{ours}={theirs}"


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[int, int, int], None] | None]:
    """A progress bar on stderr for slow work; nothing if stderr is not a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,}"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task(t("Checking"), total=None, rows=0)
        yield lambda rows, done, total: bar.update(task, completed=done, total=total, rows=rows)


def _show(report: Report) -> None:
    from tunery.data.lint.words import report_text

    for line in report_text(report).splitlines():
        code, gap, rest = line.partition("  ")
        if gap and code[:1] in COLORS and code[1:].isdigit():
            prose(out, Text.assemble((code, COLORS[code[0]]), gap, rest))
        else:
            prose(out, Text(line))
