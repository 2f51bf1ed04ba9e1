"""Services: one public face per package, private modules behind it, no circles between packages."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import import_graph

SERVICES = "tunery.services"
FACES = sorted(
    name
    for name in import_graph.modules()
    if any(other.startswith(f"{name}.") for other in import_graph.modules())
    and name.startswith(f"{SERVICES}.")
)


def package_of(name: str) -> str:
    """``tunery.services.runs`` of any module in it; empty for modules elsewhere."""
    parts = name.split(".")
    return ".".join(parts[:3]) if len(parts) > 2 and name.startswith(f"{SERVICES}.") else ""


def exported(face: str) -> dict[str, str]:
    """What a face declares: name -> private module."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(import_graph.modules()[face])
        if isinstance(node, ast.ImportFrom) and package_of(node.module or "") == face
        for alias in node.names
    }


def test_modules_of_a_package_are_private_and_nobody_outside_names_them():
    modules = import_graph.modules()
    public = [
        name
        for name in modules
        if package_of(name) not in ("", name) and not name.rpartition(".")[2].startswith("_")
    ]
    assert public == []
    outside = [
        f"{name}:{line} {to}"
        for name, tree in modules.items()
        for to, line in import_graph.arrows(name, tree, modules)
        if package_of(to) not in ("", to, package_of(name))
    ]
    assert outside == []


def test_packages_form_no_circle_and_modules_do_not_import_their_own_face():
    packages: dict[str, set[str]] = {}
    for name, targets in import_graph.graph().items():
        if here := package_of(name):
            there = {package_of(to) for to in targets} - {"", here}
            packages.setdefault(here, set()).update(there)
    assert len(FACES) == 8
    assert import_graph.circles(packages) == set()
    own = [
        name
        for name, targets in import_graph.graph().items()
        if (face := package_of(name)) in targets and name != face
    ]
    assert own == []


def test_a_face_exports_what_others_use_and_nothing_else():
    used: set[tuple[str, str]] = set()
    for name, tree in import_graph.modules().items():
        faces = {}
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str() as module, names=names) if module in FACES:
                    used |= {(module, alias.name) for alias in names if name != module}
                case ast.ImportFrom(module=module, names=names) if module == SERVICES:
                    faces |= {alias.asname or alias.name: alias.name for alias in names}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=local), attr=attribute) if local in faces:
                    used.add((f"{SERVICES}.{faces[local]}", attribute))
                case ast.Constant(value=str() as text) if ":" in text:
                    module, _, attribute = text.partition(":")
                    used.add((module, attribute))
    for face in FACES:
        declared = exported(face)
        module = importlib.import_module(face)
        assert sorted(module.__all__) == sorted(declared), face
        assert [name for name in declared if not hasattr(module, name)] == [], face
        assert set(declared) - {name for where, name in used if where == face} == set(), face


def test_a_face_imports_a_module_when_one_of_its_names_is_asked_for():
    code = f"import sys, {', '.join(FACES)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in done.stdout.split() if package_of(name) not in ("", name)]
    assert loaded == []
    assert not hasattr(importlib.import_module(FACES[0]), "no_such_name")
