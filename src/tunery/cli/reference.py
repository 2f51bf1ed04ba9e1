"""The reference page of all commands, generated from their help.

``python -m tunery.cli.reference`` writes docs/commands.md and docs/commands.zh.md; a test fails
when they are out of date. Each process writes one language, since a command's texts are chosen
when its module is imported.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from tunery import i18n
from tunery.cli.main import build_app, commands
from tunery.i18n import t

PAGES = {"en": "commands.md", "zh": "commands.zh.md"}
WIDTH = 96


def page() -> str:
    """Write the page in the current language, as Markdown."""
    app = build_app()
    lines = [
        f"# {t('Commands')}",
        "",
        t("This page is generated from the code by `make docs`."),
        "",
    ]
    for words in _paths(app):
        title = " ".join(["tunery", *words])
        lines += [f"## {title}", "", "```text", _help(app, words), "```", ""]
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Write the pages of all languages into ``folder``; return their paths."""
    paths: list[Path] = []
    for language, name in PAGES.items():
        command = [sys.executable, "-m", "tunery.cli.reference", language]
        done = subprocess.run(command, capture_output=True, check=True)
        path = folder / name
        path.write_bytes(done.stdout)
        paths.append(path)
    return paths


def _paths(app: App) -> Iterator[list[str]]:
    for name in commands():
        yield [name]
        yield from ([name, *rest] for rest in _below(app[name]))


def _below(app: App) -> Iterator[list[str]]:
    for name in app:
        if not name.startswith("-"):
            yield [name]
            yield from ([name, *rest] for rest in _below(app[name]))


def _help(app: App, words: list[str]) -> str:
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, color_system=None, force_terminal=False)
    app.help_print(words, console=console)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    epilogue = next((i for i, line in enumerate(lines) if "--lang en|zh" in line), len(lines))
    return "\n".join(lines[:epilogue]).strip()


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in i18n.LANGUAGES:
        i18n.set_language(sys.argv[1])
        sys.stdout.buffer.write(page().encode())
    else:
        for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")):
            print(written)
