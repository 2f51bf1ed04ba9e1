"""Commands that are printed can be copied into a shell, whatever the names in them are."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import tunery
from tunery.commands import command, quoted

ROOT = Path(tunery.__file__).parent
SENTENCES = {"t", "say", "Phrase", "joined"}
COMMAND = re.compile(r"\btunery [a-z](?:[^.,;()`]|\.(?=\S))*")
PLACE = re.compile(r"\{(\w+)[^}]*\}")
QUOTING = {"quoted", "command", "quote", "join"}


def test_a_name_with_a_blank_stays_one_word() -> None:
    assert quoted("a b") == "'a b'"
    assert quoted(Path("plain")) == "plain"
    words = ("export", "my run", "--to", "merged", Path("/x y/out"))
    assert shlex.split(command(*words)) == ["tunery", *map(str, words)]


def test_every_place_in_a_printed_command_is_quoted() -> None:
    assert [
        f"{file.relative_to(ROOT)} {where}"
        for file in sorted(ROOT.rglob("*.py"))
        for where in _unquoted(ast.parse(file.read_text(encoding="utf-8")))
    ] == []


def _unquoted(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in SENTENCES and node.args:
            template = node.args[0]
            if not (isinstance(template, ast.Constant) and isinstance(template.value, str)):
                continue
            given = {word.arg: word.value for word in node.keywords}
            for said in COMMAND.findall(template.value):
                for place in PLACE.findall(said):
                    if place in given and not _quotes(given[place]):
                        yield f"line {node.lineno}: {{{place}}} in {said!r}"
        elif isinstance(node, ast.JoinedStr):
            before = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    before += str(part.value)
                elif re.search(r"\btunery [a-z][^`.]*$", before) and not _quotes(part):
                    yield f"line {node.lineno}: {ast.unparse(node)}"
                    break


def _quotes(value: ast.expr | None) -> bool:
    inner = value.value if isinstance(value, ast.FormattedValue) else value
    return isinstance(inner, ast.Call) and _name(inner.func) in QUOTING


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
