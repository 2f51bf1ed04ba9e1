"""`tunery data preview`: a row as the model sees it, and statistics of a whole dataset."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from tunery.chat.refusals import named
from tunery.chat.remarks import DROPPED, NO_ROOM, in_words
from tunery.cli.console import err, out, print_json, print_warning
from tunery.cli.token_view import show_row, show_sides
from tunery.cli.wrapping import prose
from tunery.config.load import from_tokens
from tunery.env import percent
from tunery.errors import ConfigError
from tunery.i18n import t

if TYPE_CHECKING:
    from tunery.config.config import Config
    from tunery.services.datasets import ShownRow

Flag = Annotated[bool, Parameter(negative="")]
Settings = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
OPTIONS = (
    "--row",
    "--part",
    "--model",
    "--template",
    "--max-length",
    "--loss-on",
    "--variables",
    "--format",
    "--catalog",
    "--stats",
    "--boundaries",
    "--json",
)
BAR = 40


# One parameter is one option of the command, and cyclopts needs them in the signature.
def preview(
    name: str,
    *settings: Settings,
    row: int = 1,
    part: int | None = None,
    model: str | None = None,
    template: str | None = None,
    max_length: int | None = None,
    loss_on: Literal["assistant", "last", "all"] | None = None,
    variables: Annotated[list[str] | None, Parameter(negative="")] = None,
    format: str | None = None,
    catalog: Path | None = None,
    stats: Flag = False,
    boundaries: Flag = False,
    json: Flag = False,
) -> None:
    """Show a row of a dataset as the model sees it: text, tokens, and which tokens are trained on.

    Trained tokens are green and underlined (between ⟦ and ⟧ without color), control tokens have a
    dark background. Every training setting works here too, such as --data.too_long drop.

    Args:
        name: A dataset: a name, a file, a folder, or hf:owner/name.
        row: Row number, starting at 1.
        part: Which training row to show if one row becomes several; default: the last.
        model: Model whose tokenizer and template are used; default: demo.
        template: Chat template: a built-in name or a .jinja file; default: the model's own.
        max_length: Maximum length of a row in tokens.
        loss_on: Which tokens are trained on: assistant, last or all.
        variables: Value of a placeholder, as name=Tuna; may be repeated, or one JSON object.
        format: Format of the rows; detected from the first rows by default.
        catalog: Folder with a LLaMA-Factory dataset_info.json whose names may be used.
        stats: Tokenize the whole dataset and show its statistics instead of a row.
        boundaries: Draw a line between tokens.
        json: Print JSON.
    """
    from tunery.cli.progress import model_progress
    from tunery.services import datasets

    words = [*settings, *_variables(variables or [])]
    given = {
        "--model.name": model,
        "--model.template": template,
        "--data.max_length": max_length,
        "--data.loss_on": loss_on,
        "--data.format": format,
        "--data.catalog": catalog,
    }
    for flag, value in given.items():
        if value is not None:
            words += [flag, str(value)]
    config = from_tokens(words, options=OPTIONS).config
    with model_progress(as_json=False) as fetching:
        datasets.fetch_model(config, fetching)
    if stats:
        with _progress(not json) as progress:
            summary = datasets.statistics(name, config, progress=progress)
        print_json(summary) if json else _show_statistics(summary)
        return
    shown = datasets.show_row(name, config, row=row)
    for notice in shown.notices:
        print_warning(notice)
    if json:
        if shown.example.dropped:
            print_warning(_dropped(shown, config))
        print_json(datasets.part_as_dict(shown, part))
        return
    _show_row(name, shown, config, part, boundaries=boundaries)


def _variables(given: list[str]) -> list[str]:
    words: list[str] = []
    for each in given:
        pairs: dict[str, Any]
        if each.lstrip().startswith("{"):
            try:
                pairs = json_module.loads(each)
            except ValueError as error:
                raise ConfigError(
                    t("--variables: not a JSON object: {why}.", why=error),
                    fix=t("Write --variables name=Tuna, once per variable."),
                ) from error
        else:
            key, equals, value = each.partition("=")
            if not equals:
                raise ConfigError(
                    t("--variables {text}: expected name=value.", text=each),
                    fix=t("Write --variables name=Tuna, once per variable."),
                )
            pairs = {key.strip(): value}
        for key, value in pairs.items():
            words.append(f"--data.variables.{key}={value}")
    return words


def _show_row(
    name: str, shown: ShownRow, config: Config, part: int | None, *, boundaries: bool
) -> None:
    from tunery.services.datasets import pick_part

    chosen = pick_part(shown, part)
    example = shown.example
    head = t("{name}, row {row} of {rows}", name=name, row=shown.row, rows=f"{shown.rows:,}")
    detail = t("{place} · {template}", place=shown.place, template=named(shown.template))
    said = "".join(f"  {phrase.local()}" for phrase in example.said)
    prose(out, Text.assemble((head, "bold"), (said, "cyan"), "  ", (detail, "dim")))
    parts = len(example.rows)
    if parts > 1 and not example.sides:
        number = parts if part is None else part
        prose(
            out,
            Text(
                t(
                    "This row becomes {parts} training rows; this is row {number} (--part N).",
                    parts=parts,
                    number=number,
                ),
                "yellow",
            ),
        )
    out.print()
    if example.sides:
        show_sides(example, boundaries=boundaries)
    else:
        show_row(chosen, boundaries=boundaries)
    shown_rows = example.rows if example.sides else [chosen]
    for note in dict.fromkeys(note for row in shown_rows for note in row.notes):
        prose(out, Text(f"· {in_words(note)}", "dim"))
    if shown.example.dropped:
        print_warning(_dropped(shown, config))


def _dropped(shown: ShownRow, config: Config) -> str:
    if shown.example.dropped not in (DROPPED, NO_ROOM):
        return t("A run would drop this row: {why}.", why=in_words(shown.example.dropped))
    return t(
        "A run would drop this row: {why} (data.max_length={length}).",
        why=in_words(shown.example.dropped),
        length=config.data.max_length,
    )


def _show_statistics(found: dict[str, Any]) -> None:
    rows = f"{found['rows']:,}"
    if found["groups"] != found["rows"]:
        rows = t("{rows} in {groups} groups", rows=rows, groups=f"{found['groups']:,}")
    lines = [
        (t("rows"), rows),
        (
            t("tokens"),
            t(
                "{tokens}, {share} trained",
                tokens=f"{found['tokens']:,}",
                share=percent(found["trained_share"]),
            ),
        ),
        (
            t("length"),
            t(
                "mean {mean}, median {p50}, 95 % up to {p95}, 99 % up to {p99}, longest {max}",
                **{key: found["length"][key] for key in ("mean", "p50", "p95", "p99", "max")},
            ),
        ),
        (
            f"max_length {found['max_length']:,}",
            t(
                "{touched} rows affected, {cut} tokens truncated; {keeps} would keep 99 "
                "% of the rows complete",
                touched=f"{found['truncated']:,}",
                cut=f"{found['cut_tokens']:,}",
                keeps=f"{found['keeps_99']:,}",
            ),
        ),
        (
            t("packing"),
            t(
                "avoids {saved} of the padding; {sequences} full sequences",
                saved=percent(found["packing"]["saved_share"]),
                sequences=f"{found['packing']['sequences']:,}",
            ),
        ),
        (
            t("per epoch"),
            t(
                "{steps} steps of {batch} rows",
                steps=f"{found['steps_per_epoch']:,}",
                batch=found["batch_size"],
            ),
        ),
    ]
    out.print(
        Text.assemble(
            (found["dataset"], "bold"),
            "  ",
            (named(found["template"]), "dim"),
        )
    )
    width = max(_width(label) for label, _ in lines)
    for label, value in lines:
        pad = " " * (width - _width(label))
        prose(out, Text.assemble((label + pad, "cyan"), "  ", value))
    for reason, count in {**found["filtered"], **found["notes"]}.items():
        prose(out, Text(f"· {in_words(reason)}: {count:,}", "dim"))
    out.print()
    most = max(each["rows"] for each in found["histogram"])
    edge = len(str(found["histogram"][-1]["to"]))
    for each in found["histogram"]:
        span = f"{each['from']:>{edge}}-{each['to']:<{edge}}"
        bar = "█" * max(round(BAR * each["rows"] / most), 1 if each["rows"] else 0)
        out.print(Text.assemble((span, "dim"), "  ", (bar, "green"), f" {each['rows']:,}"))


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr while the dataset is tokenized; nothing if it is not a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(t("Tokenizing"), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
