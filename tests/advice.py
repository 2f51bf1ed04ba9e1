"""Every sentence of the code that says what to do and names a setting or a command for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tunery
from tunery.cli import codes
from tunery.services import settings

_COMMAND = re.compile(r"\btunery [a-z]")
_KEYWORDS = ("fix", "remedy", "advice")


def sentences() -> set[str]:
    """Sentences given as ``fix=``, beside a code, or returned by a function that makes such."""
    found = {fix for said in codes.codes().values() for each in said for fix in each.fixes}
    for path in sorted(Path(tunery.__file__).parent.rglob("*.py")):
        found.update(_of_keywords(ast.parse(path.read_text(encoding="utf-8"))))
    return {text for text in found if settings.named(text) or _COMMAND.search(text)}


def _of_keywords(tree: ast.Module) -> Iterator[str]:
    made = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        for keyword in call.keywords:
            if keyword.arg in _KEYWORDS:
                yield from _spoken(keyword.value)
                if isinstance(keyword.value, ast.Call) and isinstance(keyword.value.func, ast.Name):
                    maker = made.get(keyword.value.func.id)
                    yield from _spoken(maker) if maker is not None else ()


def _spoken(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if (
            isinstance(each, ast.Call)
            and getattr(each.func, "id", "") in ("t", "say")
            and each.args
        ):
            text = each.args[0]
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value
