"""`tunery data preview`: a row as the model sees it, and statistics of a whole dataset."""

from __future__ import annotations

import json as json_module
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from tunery.chat.remarks import in_words
from tunery.cli.console import err, out, print_json, print_warning
from tunery.config.load import from_tokens
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
BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
BYTES_AT_END = re.compile(r"<0x[0-9A-F]{2}>$")


# One parameter is one option of the command, and cyclopts wants them here.
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
    """Show a row of a dataset as a model sees it: text, tokens, and which of them are trained.

    Trained tokens are green and underlined (between ⟦ and ⟧ where there is no color), control
    tokens have a dark ground. Every setting of a run works here too, such as
    --data.too_long drop.

    Args:
        name: A dataset: a name, a file, a folder, or hf:owner/name.
        row: Number of the row, counted from 1.
        part: Which training row, where one row becomes several; the last by default.
        model: Whose tokenizer and template are used; demo by default.
        template: Chat template, a built-in name or a .jinja file; the model's own by default.
        max_length: Longest row, in tokens.
        loss_on: Which tokens are trained: assistant, last or all.
        variables: What to put for a placeholder, as name=Tuna; again for each, or one JSON object.
        format: Format of the rows; by default found from the first rows.
        catalog: Folder of a LLaMA-Factory dataset_info.json whose names may be used.
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
    if json:
        if shown.example.dropped:
            print_warning(_dropped(shown, config))
        print_json(datasets.pick_part(shown, part).as_dict())
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
                    fix=t("Write --variables name=Tuna, again for each one."),
                ) from error
        else:
            key, equals, value = each.partition("=")
            if not equals:
                raise ConfigError(
                    t("--variables {text}: expected name=value.", text=each),
                    fix=t("Write --variables name=Tuna, again for each one."),
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
    head = t("{name}, row {row} of {rows}", name=name, row=shown.row, rows=f"{shown.rows:,}")
    detail = t("{place} · template {template}", place=shown.place, template=shown.template)
    out.print(Text.assemble((head, "bold"), "  ", (detail, "dim")), soft_wrap=True)
    for notice in shown.notices:
        print_warning(notice)
    parts = len(shown.example.rows)
    if parts > 1:
        number = parts if part is None else part
        out.print(
            Text(
                t(
                    "This row becomes {parts} training rows; this is number {number} (--part N).",
                    parts=parts,
                    number=number,
                ),
                "yellow",
            ),
            soft_wrap=True,
        )
    out.print()
    out.print(_colored(chosen, boundaries=boundaries, plain=not out.is_terminal or out.no_color))
    trained, total = sum(chosen.loss_mask), len(chosen.input_ids)
    counts = t(
        "{trained} of {total} tokens are trained ({share}).",
        trained=f"{trained:,}",
        total=f"{total:,}",
        share=f"{trained / max(total, 1):.0%}",
    )
    if chosen.cut:
        counts += " " + t("{cut} tokens are cut.", cut=f"{chosen.cut:,}")
    out.print(Text(counts, "bold"), soft_wrap=True)
    for note in dict.fromkeys(chosen.notes):
        out.print(Text(f"· {in_words(note)}", "dim"), soft_wrap=True)
    if shown.example.dropped:
        print_warning(_dropped(shown, config))


def _dropped(shown: ShownRow, config: Config) -> str:
    return t(
        "A run would leave this row out: {why} (data.max_length={length}).",
        why=in_words(shown.example.dropped),
        length=config.data.max_length,
    )


def _colored(row: Any, *, boundaries: bool, plain: bool) -> Text:
    """The row's tokens, trained ones marked, control tokens boxed."""
    text = Text()
    before = 0
    pieces = list(zip(row.tokens, row.loss_mask, row.special, strict=True))
    for token, trained, special in pieces if boundaries else _whole_letters(pieces):
        if plain and trained != before:
            text.append("⟦" if trained else "⟧")
        elif boundaries and text:
            text.append("│", style="bright_black")
        before = trained
        style = "green underline" if trained else ""
        if special:
            style = "bold green on grey23" if trained else "bold white on grey23"
        text.append(_visible(token), style=style)
    if plain and before:
        text.append("⟧")
    return text


def _whole_letters(pieces: list[tuple[str, int, bool]]) -> list[tuple[str, int, bool]]:
    """Join tokens that hold pieces of one letter, so that the letter can be read."""
    joined: list[tuple[str, int, bool]] = []
    for token, trained, special in pieces:
        if joined and joined[-1][1:] == (trained, special) and BYTES_AT_END.search(joined[-1][0]):
            joined[-1] = (joined[-1][0] + token, trained, special)
        else:
            joined.append((token, trained, special))
    return [(BYTES.sub(_letters, token), trained, special) for token, trained, special in joined]


def _letters(run: re.Match[str]) -> str:
    data = bytes.fromhex("".join(re.findall(r"<0x(..)>", run.group())))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return run.group()


def _visible(token: str) -> str:
    """Show a line break's place, and control characters as their names in Unicode."""
    if token in ("\n", "\n\n"):
        return "↵\n" * len(token)
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else f"<U+{ord(letter):04X}>"
        for letter in token
    )


def _show_statistics(found: dict[str, Any]) -> None:
    lines = [
        (t("rows"), f"{found['rows']:,}"),
        (
            t("tokens"),
            t(
                "{tokens}, {share} trained",
                tokens=f"{found['tokens']:,}",
                share=f"{found['trained_share']:.1%}",
            ),
        ),
        (
            t("length"),
            t(
                "mean {mean}, half up to {p50}, 95 % up to {p95}, 99 % up to {p99}, longest {max}",
                **{key: found["length"][key] for key in ("mean", "p50", "p95", "p99", "max")},
            ),
        ),
        (
            f"max_length {found['max_length']:,}",
            t(
                "{touched} rows touched, {cut} tokens cut; {keeps} would keep 99 % of them whole",
                touched=f"{found['truncated']:,}",
                cut=f"{found['cut_tokens']:,}",
                keeps=f"{found['keeps_99']:,}",
            ),
        ),
        (
            t("packing"),
            t(
                "saves {saved} of the computed tokens; {sequences} full sequences",
                saved=f"{found['packing']['saved_share']:.0%}",
                sequences=f"{found['packing']['sequences']:,}",
            ),
        ),
        (
            t("an epoch"),
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
            (t("template {template}", template=found["template"]), "dim"),
        )
    )
    width = max(_width(label) for label, _ in lines)
    for label, value in lines:
        pad = " " * (width - _width(label))
        out.print(Text.assemble((label + pad, "cyan"), "  ", value), soft_wrap=True)
    for reason, count in {**found["filtered"], **found["notes"]}.items():
        out.print(Text(f"· {in_words(reason)}: {count:,}", "dim"), soft_wrap=True)
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
    """A bar on stderr while the dataset is tokenized; nothing where nobody looks."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(t("Tokenizing"), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
