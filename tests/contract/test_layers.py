"""Who may import whom, and what no module may call."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import import_graph
from import_graph import ROOT

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(ROOT.rglob("*.py"))
KNOWN: set[frozenset[str]] = set()
"""Circles that are still to be opened; none may come in anew."""
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def test_imports_keep_to_the_layers():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_no_module_names_one_of_a_higher_layer_also_not_late_or_in_a_string():
    modules = import_graph.modules()
    depth = {name: _depth(name) for name in modules if name not in ("tunery", "tunery.__main__")}
    assert [name for name, found in depth.items() if found is None] == []
    upward = [
        f"{name}:{line} {to}"
        for name in depth
        for to, line in import_graph.arrows(name, modules[name], modules)
        if to in depth and not _may(name, to)
    ]
    assert upward == []


def test_modules_form_no_circle():
    assert import_graph.circles(import_graph.graph()) == KNOWN


def test_the_graph_sees_late_imports_and_names_in_strings_but_not_what_builds_a_kind():
    code = """
from tunery import env
def late():
    import tunery.cli.main
    from tunery.jobs.kinds import nothing
class Kind:
    build: ClassVar[str] = "tunery.adapters.lora:Lora"
    named: ClassVar[str] = "tunery.adapters.full:Full"
TABLE = {"run": "tunery.train.worker"}
"Words about tunery.train.worker, and tunery.no_such_module"
"""
    known = {
        "tunery", "tunery.env", "tunery.cli.main", "tunery.jobs.kinds", "tunery.train.worker",
        "tunery.adapters.full", "tunery.adapters.lora",
    }  # fmt: skip
    found = sorted(import_graph.arrows("tunery.here", ast.parse(code), known), key=lambda f: f[1])
    assert found == [
        ("tunery.env", 2), ("tunery.cli.main", 4), ("tunery.jobs.kinds", 5),
        ("tunery.adapters.full", 8), ("tunery.train.worker", 9),
    ]  # fmt: skip
    rings = import_graph.circles(
        {"a": "b", "b": "cd", "c": "a", "d": "e", "e": "", "f": "gf", "g": "f"}
    )
    assert rings == {frozenset("abc"), frozenset("fg")}


def test_no_module_runs_text_or_unpickles():
    found = [
        f"{name}:{line} {what}"
        for name, tree in import_graph.modules().items()
        for line, what in _dangers(tree)
    ]
    assert found == []


def test_the_search_for_dangers_finds_them():
    code = """
import pickle
from marshal import loads
eval("1"); os.system("x"); subprocess.run("x", shell=True)
torch.load(p); torch.load(p, weights_only=False); torch.load(p, weights_only=True)
AutoModel.from_pretrained(p, trust_remote_code=True)
model.eval(); re.compile("x")
"""
    assert [line for line, _ in _dangers(ast.parse(code))] == [2, 3, 4, 4, 4, 5, 5, 6]


def test_no_module_is_too_long_and_no_function_is_too_large():
    too_long = [p for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert [str(p.relative_to(ROOT)) for p in too_long] == []
    too_large = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert too_large == []


def test_no_module_catches_every_exception_to_carry_on():
    caught = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert caught == []


@functools.cache
def _layers() -> list[tuple[list[str], bool]]:
    """The layers of import-linter from the top: their parts, and whether these may meet (``:``)."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [([part.strip() for part in re.split("[|:]", layer)], ":" in layer) for layer in layers]


def _depth(name: str) -> tuple[int, str] | None:
    """The layer of a module, 0 at the top, and the part of it; None for one without a layer."""
    return next(
        (
            (depth, part)
            for depth, (parts, _) in enumerate(_layers())
            for part in parts
            if name == part or name.startswith(f"{part}.")
        ),
        None,
    )


def _may(name: str, to: str) -> bool:
    (here, part), (there, other) = _depth(name) or (0, ""), _depth(to) or (0, "")
    return there > here or part == other or (there == here and _layers()[here][1])


def _dangers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    found: set[tuple[int, int, str]] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                bad = [a.name for a in names if a.name.split(".")[0] in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str() as module):
                bad = [module] if module.split(".")[0] in FORBIDDEN_MODULES else []
            case ast.Call():
                bad = list(_bad_calls(node))
            case _:
                continue
        found |= {(node.lineno, node.col_offset, name) for name in bad}
    yield from ((line, name) for line, _, name in sorted(found))


def _bad_calls(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {k.arg: k.value for k in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield name
    for switch in ("shell", "trust_remote_code"):
        given = keywords.get(switch)
        if isinstance(given, ast.Constant) and given.value is True:
            yield f"{name}({switch}=True)"
    if name == "torch.load":
        safe = keywords.get("weights_only")
        if not (isinstance(safe, ast.Constant) and safe.value is True):
            yield name
