"""The import graph of the package, imports inside functions and names of modules in strings too."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import tunery

ROOT = Path(tunery.__file__).parent
PLACE = re.compile(r"(tunery(?:\.\w+)+)(?::\w+)?")

Graph = Mapping[str, Collection[str]]


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    return {
        _name(path): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def arrows(name: str, tree: ast.AST, known: Collection[str]) -> Iterator[tuple[str, int]]:
    """The modules that one names, with the lines; ``build`` of a kind of settings is left out."""
    builds = {id(value) for node in ast.walk(tree) for value in _build(node)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str() as module, names=names):
                places = [(f"{module}.{alias.name}", module) for alias in names]
            case ast.Import(names=names):
                places = [(alias.name, "") for alias in names]
            case ast.Constant(value=str() as text) if id(node) not in builds:
                place = PLACE.fullmatch(text)
                places = [(place[1], "")] if place else []
            case _:
                continue
        for inner, outer in places:
            found = inner if inner in known else outer
            if found in known and found != name:
                yield found, node.lineno


@functools.cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules that it names."""
    known = modules()
    return {name: {to for to, _ in arrows(name, tree, known)} for name, tree in known.items()}


def circles(graph: Graph) -> set[frozenset[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for to in graph.get(node, ()):
            if to not in order:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in stack:
                low[node] = min(low[node], order[to])
        if low[node] == order[node]:
            start = stack.index(node)
            if len(group := frozenset(stack[start:])) > 1:
                found.add(group)
            del stack[start:]

    for node in graph:
        if node not in order:
            visit(node)
    return found


def _build(node: ast.AST) -> Iterator[ast.expr]:
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        match part:
            case ast.AnnAssign(target=ast.Name(id="build"), value=ast.expr() as value):
                yield value
            case ast.Assign(targets=[ast.Name(id="build")], value=value):
                yield value


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
