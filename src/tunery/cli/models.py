"""`tunery models`: download, list, describe, resolve and remove models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from tunery.cli.columns import Column, fitted
from tunery.cli.console import err, out, print_json, print_warning
from tunery.cli.wrapping import prose
from tunery.commands import quoted
from tunery.env import human_bytes
from tunery.errors import ModelError
from tunery.i18n import t

if TYPE_CHECKING:
    from tunery.models.resolve import Resolved
    from tunery.services.models import CodeToAllow

app = App(name="models", help=t("Download, list, resolve and remove models."))

Json = Annotated[bool, Parameter(negative="")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]


@app.command
def pull(
    name: str,
    *,
    revision: str | None = None,
    source: Literal["hf", "modelscope"] = "hf",
    json: Json = False,
) -> int:
    """Download a model or import a .gguf file. Run it again to resume an interrupted download.

    HF_ENDPOINT sets a mirror, HF_HOME the cache, HF_TOKEN the token.

    Args:
        name: Hub id (owner/name, owner/name@revision), a .gguf file, or demo.
        revision: Branch, tag or commit.
        source: Where to download from: hf (or a mirror of it) or modelscope.
        json: Print progress and the result as one JSON object per line.
    """
    from tunery.cli.live import print_line
    from tunery.cli.progress import model_progress
    from tunery.services import models

    try:
        with model_progress(as_json=json) as progress:
            found = models.pull(name, revision=revision, source=source, progress=progress)
    except KeyboardInterrupt:
        print_warning(t("Stopped. The partial download is kept: run the same command to resume."))
        return 130
    if json:
        print_line({"type": "result", **found.as_dict()})
        return 0
    prose(out, Text.assemble(("✓ ", "green"), _line(found)))
    for note in found.notes:
        print_warning(note)
    _say(t("Chat with it: tunery chat {name}", name=quoted(found.name)), "dim")
    return 0


@app.command(name="list")
def list_(*, json: Json = False) -> None:
    """List the models on this machine, complete and incomplete.

    Args:
        json: Print JSON.
    """
    from tunery.services import models

    found = models.listing()
    if json:
        print_json(found)
        return
    columns = [
        Column(t("name")),
        Column(t("source"), gives_way=2),
        Column(t("architecture"), gives_way=5),
        Column(t("parameters"), gives_way=3, right=True),
        Column(t("context"), gives_way=4, right=True),
        Column(t("on disk"), gives_way=1, right=True),
        Column("", fills=True),
    ]
    rows = [
        [
            Text(each["name"], "" if each["ok"] else "dim"),
            Text(_origin(each["kind"])),
            Text(each["architecture"] or ""),
            Text(_count(each["num_parameters"])),
            Text(f"{each['context_length']:,}" if each["context_length"] else ""),
            Text(human_bytes(each["size_bytes"]) if each["here"] else ""),
            _state(each),
        ]
        for each in found
    ]
    out.print(fitted(out, columns, rows), crop=False, soft_wrap=True)


@app.command
def show(name: str, *, json: Json = False) -> None:
    """Describe a model: what it is, its template, the memory needed for training, its runs.

    Args:
        name: A model: hub id, folder, .gguf file, adapter, run, demo.
        json: Print JSON.
    """
    from tunery.services import models

    found = models.describe(name)
    if json:
        print_json(found)
        return
    _facts(found)
    if found["template_preview"]:
        _say(f"\n{t('A chat as the model sees it')}", "bold")
        _say(found["template_preview"], "cyan")
    if found["memory"]:
        _print_memory(found["memory"])
    if found["runs"]:
        _say(f"\n{t('Runs that use it')}", "bold")
        _say(", ".join(found["runs"]))


@app.command
def resolve(name: str, *, json: Json = False) -> None:
    """Show which folder a name resolves to and why, or what is missing.

    Args:
        name: A model: hub id, folder, hub cache folder, .gguf file, adapter, run, demo.
        json: Print JSON.
    """
    from tunery.models.resolve import resolve as find

    found = find(name)
    if json:
        print_json(found.as_dict())
        return
    _say(str(found.path))
    _say(_line(found), "dim")
    for note in found.notes:
        print_warning(note)


@app.command
def base(name: str, model: str, *, json: Json = False) -> None:
    """Set the base model of a run or an adapter after it was moved or replaced.

    Args:
        name: A run or an adapter folder.
        model: The full model it belongs to: a hub id, a folder, demo.
        json: Print JSON.
    """
    from tunery.models.rebase import name_base

    found = name_base(name, model)
    if json:
        print_json(found.as_dict())
        return
    _say(_line(found))


@app.command
def remove(name: str, *, yes: Yes = False, json: Json = False) -> int:
    """Delete a downloaded or imported model. Your own folders are never deleted.

    Args:
        name: Name of the model, or owner/name@revision for one revision of it.
        yes: Do not ask for confirmation.
        json: Print JSON; needs --yes.
    """
    from tunery.services import models

    what = models.to_remove(name)
    size = human_bytes(what.size_bytes)
    if what.runs and not json:
        runs = ", ".join(what.runs)
        print_warning(t("These runs need it: {runs}.", runs=runs))
    if not yes and not _agree(t("Delete {name} ({size})?", name=name, size=size), json):
        _say(t("Nothing was deleted."))
        return 0
    models.remove(what)
    if json:
        freed = {"name": name, "removed": True, "freed_bytes": what.size_bytes}
        print_json({**freed, "folders": [str(folder) for folder in what.folders]})
        return 0
    _say(t("{name} was deleted; {size} freed.", name=name, size=size))
    return 0


@app.command
def allow_code(
    name: str,
    *,
    sha256: str | None = None,
    revoke: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Allow or revoke code that comes with a model. Review it first: it runs with your permissions.

    The consent covers exactly these files at this commit; a changed file needs a new one.

    Args:
        name: The model.
        sha256: The hash that was shown; allows the code without a prompt.
        revoke: Revoke the consent.
        json: Print JSON.
    """
    from tunery.services import models

    if revoke:
        count = models.revoke_code(name)
        if json:
            print_json({"name": name, "revoked": count})
        else:
            _say(t("Revoked {count} consents for {name}.", count=count, name=name))
        return 0
    what = models.code_to_allow(name)
    if what is None:
        if json:
            print_json({"name": name, "needed": False})
        else:
            _say(t("{name} needs no custom code, or already has your consent.", name=name))
        return 0
    if not json:
        _show_code(what)
    if not _consented(what, sha256, json):
        return 0
    code = models.allow_code(what)
    if json:
        print_json({"name": name, "allowed": True, "repo": code.repo, "sha256": code.sha256})
    else:
        _say(
            t(
                "Allowed. Revoke with: tunery models allow-code {name} --revoke",
                name=quoted(name),
            )
        )
    return 0


def _line(found: Resolved) -> str:
    """One line: what it is, its size, and why it was selected."""
    parts = [found.architecture, _count(found.num_parameters), found.weights]
    if found.context_length:
        parts.append(t("{count} tokens of context", count=f"{found.context_length:,}"))
    facts = ", ".join(part for part in parts if part)
    return f"{found.name}: {facts} — {found.why}"


def _facts(found: dict[str, Any]) -> None:
    _say(found["name"], "bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    special = [
        f"{key.removesuffix('_token')} {value}" for key, value in found["special_tokens"].items()
    ]
    config = [f"{k} {v}" for k, v in found["config"].items() if k != "model_type"]
    rows = [
        (t("resolved to"), found["why"]),
        (t("folder"), found["path"]),
        (t("base model"), found["base"]["path"] if found["base"] else ""),
        (t("revision"), found["revision"] or ""),
        (t("architecture"), found["architecture"]),
        (t("parameters"), _exact(found["num_parameters"])),
        (t("weights"), f"{found['weights']}, {human_bytes(found['size_bytes'])}"),
        (t("context"), _exact(found["context_length"])),
        (t("config"), ", ".join(config)),
        (t("special tokens"), ", ".join(special)),
        (t("chat template"), t("yes") if found["chat_template"] else t("no: set model.template")),
        (t("custom code"), ", ".join(found["code_files"])),
    ]
    for title, value in [*rows, *((t("note"), note) for note in found["notes"])]:
        if value:
            table.add_row(title, Text(value))
    out.print(table)


def _print_memory(rows: list[dict[str, Any]]) -> None:
    _say(f"\n{t('Memory to train it (bf16), by tokens per micro batch')}", "bold")
    tokens = sorted({row["tokens"] for row in rows})
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("adapter")
    for count in tokens:
        table.add_column(f"{count:,}", justify="right")
    for adapter in dict.fromkeys(row["adapter"] for row in rows):
        cells = {row["tokens"]: row["bytes"] for row in rows if row["adapter"] == adapter}
        table.add_row(adapter, *(human_bytes(cells[count]) for count in tokens))
    out.print(table)


def _show_code(what: CodeToAllow) -> None:
    from rich.syntax import Syntax

    where = f"{what.code.repo} {what.code.revision[:12]}".strip()
    title = t("{where} comes with this code; it would run with all your permissions:", where=where)
    _say(title, "bold")
    for file in what.files:
        _say(f"\n── {file} ({human_bytes(file.stat().st_size)})", "bold cyan")
        out.print(Syntax(file.read_text(encoding="utf-8", errors="replace"), "python"))
    _say(f"\nsha256 {what.code.sha256}")


def _consented(what: CodeToAllow, sha256: str | None, json: bool) -> bool:
    """Whether the user agrees: by the hash that was shown, or by answering a prompt now."""
    if sha256 is not None:
        if len(sha256) >= 12 and what.code.sha256.startswith(sha256):
            return True
        raise ModelError(
            t("--sha256: the hash of the code is different: {hash}.", hash=what.code.sha256),
            fix=t("Review the code again before you allow it."),
        )
    if json or not sys.stdin.isatty():
        raise ModelError(
            t(
                "{folder}: not running interactively, so consent cannot be requested.",
                folder=what.folder,
            ),
            fix=t("After reviewing the code, add: --sha256 {hash}", hash=what.code.sha256[:16]),
            sha256=what.code.sha256,
        )
    if _agree(t("Run this code on this machine?"), json):
        return True
    _say(t("Nothing was allowed."))
    return False


def _agree(question: str, json: bool) -> bool:
    if json or not sys.stdin.isatty():
        raise ModelError(
            t(
                "{question} Not running interactively, so this cannot be confirmed.",
                question=question,
            ),
            fix=t("Add --yes to skip the confirmation."),
        )
    err.print(Text(f"{question} [y/N] ", "bold"), end="")
    return input().strip().lower() in ("y", "yes", "是")


def _say(text: str, style: str = "") -> None:
    """Print a sentence on one line, however long: it may contain a command to copy."""
    prose(out, Text(text, style))


def _origin(kind: str) -> str:
    names = {"hub": t("hub"), "gguf": t("imported"), "demo": t("built in")}
    return names.get(kind, kind)


def _state(entry: dict[str, Any]) -> Text:
    if entry["ok"]:
        return Text("✓", "green")
    if not entry["here"]:
        return Text(
            t("not downloaded yet: tunery models pull {name}", name=quoted(entry["name"])), "dim"
        )
    return Text(str(entry["problem"]).removeprefix(entry["path"]).lstrip(":： "), "yellow")


def _count(number: int | None) -> str:
    """134515008 -> 134.5M."""
    if number is None:
        return ""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return (
                f"{number / size:.3g}{unit}" if number < 10 * size else f"{number / size:.0f}{unit}"
            )
    return str(number)


def _exact(number: int | None) -> str:
    return f"{number:,}" if number is not None else ""
