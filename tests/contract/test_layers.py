"""Who may import whom, and what no module may call."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunery

ROOT = Path(tunery.__file__).parent
REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(ROOT.rglob("*.py"))
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def test_imports_keep_to_the_layers():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_runs_text_or_unpickles(path: Path):
    assert list(_dangers(ast.parse(path.read_text(encoding="utf-8")))) == []


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
