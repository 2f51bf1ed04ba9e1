"""The reference page of all codes, generated from the places in the code that raise them.

``python -m tunery.cli.codes`` writes docs/errors.md and docs/errors.zh.md; a test fails when they
are out of date. A code is defined nowhere else: its sentences are those of the calls that raise it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import tunery
from tunery import i18n
from tunery.i18n import t, translated
from tunery.services import settings

PAGES = {"en": "errors.md", "zh": "errors.zh.md"}
CODE = re.compile(r"[EWN]\d{3}")
SHARED = {"E503": "E507", "E505": "E507", "W722": "E506"}
"""Codes that share the sentences of another one: for the kinds of rows that a method cannot learn
from, and for what is an error in a run and a warning in the check."""

_SPOKEN = ("t", "say")


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a code: what was found, and what to do about it."""

    found: str
    fixes: tuple[str, ...] = ()


def codes() -> dict[str, list[Said]]:
    """Every code in the source with its possible messages, sorted."""
    found: dict[str, list[Said]] = {}
    for path in sorted(Path(tunery.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in _scopes(tree):
            for names, said in _calls(function):
                for name in names:
                    kept = found.setdefault(name, [])
                    kept.extend(each for each in said if each not in kept)
    for name, like in SHARED.items():
        found[name] = found[like]
    return dict(sorted(found.items(), key=lambda item: (not CODE.fullmatch(item[0]), item[0])))


def page() -> str:
    """The page as Markdown, translated."""
    lines = [
        f"# {t('Errors and warnings')}",
        "",
        t("This page is generated from the code by `make docs`."),
        t(
            "E: rows or files that cannot be used as they are. W: warnings; a run continues, "
            "and data.accept silences one. Words: all other errors, as --json and the REST "
            "API return them in `code`. Braces mark placeholders."
        ),
        "",
    ]
    for name, said in codes().items():
        lines += [f"## {name}", ""]
        lines += [f"- {_line(each)}" for each in said] or [t("The message explains what is wrong.")]
        lines.append("")
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Write the pages of all languages into ``folder``; return their paths."""
    paths: list[Path] = []
    for language, name in PAGES.items():
        with i18n.speaking(language):
            path = folder / name
            path.write_text(page(), encoding="utf-8")
        paths.append(path)
    return paths


def _line(said: Said) -> str:
    found = _plain(translated(said.found))
    fixes = [_plain(translated(fix)) for fix in said.fixes]
    changes = [
        f"`{named.path}: {named.value}`"
        for fix in said.fixes
        for named in settings.named(fix)
        if named.value is not None
    ]
    shown = f" [{', '.join(dict.fromkeys(changes))}]" if changes else ""
    return found + (f" → {' / '.join(fixes)}" if fixes else "") + shown


def _plain(text: str) -> str:
    """A sentence as plain Markdown."""
    return re.sub(r"([<>*_|])", r"\\\1", text.replace("\\", "\\\\"))


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node not in inside:
            inside.update(ast.walk(node))
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (each for each in node.body if isinstance(each, ast.Assign))


def _calls(scope: ast.AST) -> Iterator[tuple[list[str], list[Said]]]:
    """Codes with their sentences: the arguments of a call, or the parts of a tuple."""
    given = _assigned(scope)
    for node in ast.walk(scope):
        if isinstance(node, ast.Call) and _name(node) not in _SPOKEN:
            parts = [(None, arg) for arg in node.args]
            parts += [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Tuple):
            parts = [(None, part) for part in node.elts]
        else:
            continue
        names = [
            name for keyword, part in parts for name in _codes(part, given, word=keyword == "code")
        ]
        if not names:
            continue
        spoken = [(k, s) for k, part in parts if k != "code" and (s := _sentences(part, given))]
        fixes = [s for k, s in spoken if k == "fix"] or [s for _, s in spoken[1:2]]
        founds = next((s for k, s in spoken if k != "fix"), [])
        mended = tuple(dict.fromkeys(chain.from_iterable(fixes)))
        yield names, [Said(each, mended) for each in founds]


def _codes(part: ast.expr, given: dict[str, list[ast.expr]], *, word: bool) -> Iterator[str]:
    for node in _leaves(part, given):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and (CODE.fullmatch(value) or (word and value)):
            yield value


def _sentences(part: ast.expr, given: dict[str, list[ast.expr]]) -> list[str]:
    return [
        argument.value
        for node in _leaves(part, given)
        if isinstance(node, ast.Call) and _name(node) in _SPOKEN and node.args
        if isinstance(argument := node.args[0], ast.Constant) and isinstance(argument.value, str)
    ]


def _leaves(part: ast.expr, given: dict[str, list[ast.expr]]) -> Iterator[ast.expr]:
    """The possible values of an argument: both sides of conditions, values assigned to a name."""
    match part:
        case ast.IfExp():
            yield from _leaves(part.body, given)
            yield from _leaves(part.orelse, given)
        case ast.BoolOp():
            for value in part.values:
                yield from _leaves(value, given)
        case ast.BinOp():
            yield from _leaves(part.left, given)
            yield from _leaves(part.right, given)
        case ast.Name() if part.id in given:
            for value in given[part.id]:
                yield from _leaves(value, {k: v for k, v in given.items() if k != part.id})
        case ast.Call() if _name(part) in ("coded", "joined"):
            for value in part.args:
                yield from _leaves(value, given)
        case _:
            yield part


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _paired(target, node.value):
                    found.setdefault(name, []).append(value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, []).append(node.value)
    return found


def _paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=False):
            yield from _paired(each, part)


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")):
        print(written)
