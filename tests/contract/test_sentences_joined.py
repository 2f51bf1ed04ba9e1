"""What an error says can be said again in another language: no f-string glues its sentences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tunery
from tunery import errors
from tunery.i18n import joined, language, phrase_of, set_language, t

ROOT = Path(tunery.__file__).parent
KINDS = {name for name, found in vars(errors).items() if isinstance(found, type)}
SAYING = {"t", "say", "joined", "coded", "retold", "did_you_mean"}
ENGLISH_ONLY = ("server/openai", "server/anthropic")
"""The APIs for programs, whose sentences are English by design."""
PLAIN = {
    "cli/help.py ' '.join(fix.split())",  # printed by this process at once
    "services/runs/_preparing.py 'pip install \"tunery[train]\"'",  # a command
}


def test_sentences_joined_remember_what_they_say() -> None:
    before = language()
    set_language("en")
    try:
        both = joined(t("Choose a device."), "", t("List them with: tunery runs list"))
        lines = joined("a", t("null"), between="\n")
    finally:
        set_language(before)
    assert str(lines) == "a\nnull"
    assert phrase_of(both) is not None
    stored = errors.TuneryError("wrong", fix=both).stored()
    assert errors.rebuilt(stored).fix == both


def test_no_f_string_joins_sentences_of_an_error_or_a_warning() -> None:
    found = {
        f"{name} {text}"
        for file in sorted(ROOT.rglob("*.py"))
        if not (name := str(file.relative_to(ROOT))).startswith(ENGLISH_ONLY)
        for text in _glued(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == PLAIN


def _glued(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: word.value for word in node.keywords}
        said: list[ast.expr | None] = []
        match _name(node.func):
            case name if name in KINDS:
                said = [*node.args[:1], given.get("fix")]
            case "unknown_name":
                said = [given.get("fix")]
            case "warn":
                said = node.args[1:2]
            case "write":
                said = [given.get("text"), given.get("reason")]
            case _:
                pass
        for each in said:
            if each is not None and _is_glued(each):
                yield ast.unparse(each)


def _is_glued(value: ast.expr) -> bool:
    match value:
        case ast.JoinedStr():
            return True
        case ast.Constant():
            return isinstance(value.value, str) and " " in value.value
        case ast.IfExp():
            return _is_glued(value.body) or _is_glued(value.orelse)
        case ast.BinOp():
            return _is_glued(value.left) or _is_glued(value.right)
        case ast.Call(func=ast.Attribute(value=inner, attr="strip")):
            return _is_glued(inner)
        case ast.Call():
            return _name(value.func) == "join" and _name(value.func) not in SAYING
        case _:
            return False


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
