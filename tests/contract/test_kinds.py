"""A kind costs one light file, one heavy file and an entry in a tuple: nothing else names it.

What is looked for: its tag as a string of its own, and ``type=TAG`` inside a sentence, in Python,
scripts and templates. Tests, translations, presets and docs may name it. A few tags are ordinary
words too; of those only what is compared with, given to or keyed by a name that holds a tag counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunery
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.exporters import EXPORTERS
from tunery.config.methods import METHODS
from tunery.config.optimizers import OPTIMIZERS
from tunery.config.quantization import QUANTIZATIONS
from tunery.config.trackers import TRACKERS
from tunery.data.kinds import ROW_KINDS
from tunery.measures import LOSS
from tunery.runs import curves

ROOT = Path(tunery.__file__).parent
SECTIONS = {
    "methods": ([tag(kind) for kind in METHODS], "methods"),
    "adapters": ([tag(kind) for kind in ADAPTERS], "adapters"),
    "optimizers": ([tag(kind) for kind in OPTIMIZERS], "optimizers"),
    "quantization": ([tag(kind) for kind in QUANTIZATIONS], "quantization"),
    "exporters": ([tag(kind) for kind in EXPORTERS], "export"),
    "trackers": ([tag(kind) for kind in TRACKERS], "track"),
}
"""Tags and heavy package of each section whose light halves are in ``config/SECTION``."""
ORDINARY = {
    "sft": {"type", "method", "kind"},
    "text": {"rows", "row_kind", "rows_kind"},
    "adapter": {"to", "exporter", "format"},
    "none": {"quantization"},
}
"""Tags that are ordinary words, and the names of what holds such a tag."""
TYPED = re.compile(r"\btype=(\w+)")


def places() -> dict[str, set[str]]:
    """Every tag with the files that may name it."""
    found: dict[str, set[str]] = {}
    for section, (tags, package) in SECTIONS.items():
        for name in tags:
            found.setdefault(name, set()).update(
                {f"config/{section}/{name}.py", f"{package}/{name}.py"}
            )
    for kind in ROW_KINDS:
        found.setdefault(kind.name, set()).add(f"data/kinds/{kind.name}.py")
    return found


def measures() -> dict[str, set[str]]:
    """Every measure but the loss with the files that may name it."""
    found: dict[str, set[str]] = {}
    for kind in METHODS:
        owner = next(base for base in kind.__mro__ if "measures" in vars(base))
        name = owner.__module__.rpartition(".")[2]  # the kind's own file, or that of its family
        for measure in kind.measures:
            if measure != LOSS:
                found[measure.name] = {f"config/methods/{name}.py", f"methods/{name}.py"}
    return found


def test_a_tag_stands_in_its_own_two_files_alone():
    known = places()
    assert [
        f"{file}:{line} {name}"
        for file, line, name in _named(known)
        if file not in known[name]
    ] == []  # fmt: skip


def test_a_measure_stands_in_the_two_files_of_its_method_alone():
    known = measures()
    assert {"reward_margin", "kl"} <= known.keys()
    assert [
        f"{file}:{line} {name}"
        for file, line, name in _named(known)
        if file not in known[name]
    ] == []  # fmt: skip


def test_every_kind_has_its_light_file_and_builds_from_its_heavy_package():
    for section, kinds in (("methods", METHODS), ("adapters", ADAPTERS),
                           ("optimizers", OPTIMIZERS), ("exporters", EXPORTERS),
                           ("trackers", TRACKERS), ("quantization", QUANTIZATIONS)):  # fmt: skip
        for kind in kinds:
            assert kind.__module__ == f"tunery.config.{section}.{tag(kind)}"
            assert kind.build.startswith(f"tunery.{SECTIONS[section][1]}.")


def test_no_measure_has_the_name_of_a_figure_that_every_step_has():
    taken = {*curves.METRIC_KEYS, *curves.AXES, "step", "seq", "keys", "kind"} - {LOSS.name}
    assert [name for name in measures() if name in taken] == []
    assert all(kind.best in {m.name for m in kind.measures} for kind in METHODS)


@pytest.mark.parametrize(
    "code",
    [
        'if config.method.type == "dpo": ...',
        'LABELS = {"dpo": "Preference"}',
        'raise E("method.type=dpo: no")',
        'E(f"method.type=dpo and {x} exclude each other")',
        'if to == "adapter": ...',
        'LABELS = {"adapter": 1}[to]',
        'LABELS = {"adapter": 1}.get(to)',
        'if to in ("merged2", "adapter"): ...',
        'match job.to:\n    case "adapter":\n        ...',
        'export(run, to="adapter")',
        'if kind.rows == "text": ...',
    ],
)
def test_the_search_sees_each_way_to_name_a_kind(code: str):
    assert list(_of_python(ast.parse(code), {"dpo", "adapter", "text"}))


@pytest.mark.parametrize(
    "code",
    [
        '"""About dpo."""',
        'row["text"]',
        'part.type == "text"',
        'found.kind in ("run", "adapter")',
        'folder / "adapter"',
        '{"text": answer}',
    ],
)
def test_an_ordinary_word_is_let_be(code: str):
    assert list(_of_python(ast.parse(code), {"dpo", "adapter", "text"})) == []


def test_the_search_reads_scripts_and_templates():
    found = [
        (number, name)
        for number, name in _of_script(
            'if (a === "dpo") f();\nif (report.format === "adapter") g();\n'
            '// "dpo"\nel(\'dpo\'); x.kind === "adapter"\n',
            {"dpo", "adapter"},
        )
    ]
    assert found == [(1, "dpo"), (2, "adapter"), (4, "dpo")]


def _named(known: dict[str, set[str]]) -> Iterator[tuple[str, int, str]]:
    names = set(known)
    for path in sorted(ROOT.rglob("*")):
        file = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            light = file.startswith("config/methods/")
            for line, name in _of_python(tree, names, rows_allowed=light):
                yield file, line, name
        elif path.suffix in (".js", ".html") and "vendor" not in path.parts:
            for line, name in _of_script(path.read_text(encoding="utf-8"), names):
                yield file, line, name


def _of_python(
    tree: ast.Module, names: set[str], *, rows_allowed: bool = False
) -> Iterator[tuple[int, str]]:
    allowed = {id(value) for value in _rows_of_a_method(tree)} if rows_allowed else set[int]()
    for node in ast.walk(tree):
        for holder, values in _held(node):
            for value in values:
                holders = ORDINARY.get(value.value, ()) if value.value in names else ()
                if holder in holders and id(value) not in allowed:
                    yield value.lineno, value.value
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if node.value in names and node.value not in ORDINARY and id(node) not in allowed:
            yield node.lineno, node.value
        for found in TYPED.findall(node.value):
            if found in names:
                yield node.lineno, found


def _rows_of_a_method(tree: ast.Module) -> Iterator[ast.expr]:
    """``rows = "pair"``: a method says by name what it learns from."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="rows")], value=value):
                yield value
            case _:
                pass


def _held(node: ast.AST) -> Iterator[tuple[str, list[ast.Constant]]]:
    """Names, and the strings that they are compared with, given or looked up among."""
    match node:
        case ast.Compare(left=left, comparators=[right]):
            yield _name(left), _strings(right)
            yield _name(right), _strings(left)
        case ast.Match(subject=subject, cases=cases):
            patterns = [each for case in cases for each in ast.walk(case.pattern)]
            values = [each.value for each in patterns if isinstance(each, ast.MatchValue)]
            yield _name(subject), [s for value in values for s in _strings(value)]
        case ast.keyword(arg=str() as name, value=value):
            yield name, _strings(value)
        case ast.Assign(targets=[target], value=value):
            yield _name(target), _strings(value)
        case ast.Subscript(value=ast.Dict() as table, slice=key):
            yield _name(key), _keys(table)
        case ast.Call(func=ast.Attribute(value=ast.Dict() as table), args=[key, *_]):
            yield _name(key), _keys(table)
        case _:
            pass


def _keys(table: ast.Dict) -> list[ast.Constant]:
    return [s for key in table.keys if key is not None for s in _strings(key)]


def _strings(node: ast.AST) -> list[ast.Constant]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node]
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [found for each in node.elts for found in _strings(each)]
    return []


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _of_script(text: str, names: set[str]) -> Iterator[tuple[int, str]]:
    text = re.sub(r"\{#.*?#\}|/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r"(?<![:\"'])//.*", "", line)
        for match in re.finditer(r"""(["'`])(\w+)\1""", code):
            name = match[2]
            if name in names and name not in ORDINARY:
                yield number, name
        for match in re.finditer(r"""(\w+)\s*[!=]==?\s*(["'`])(\w+)\2""", code):
            if match[3] in names and match[1] in ORDINARY.get(match[3], ()):
                yield number, match[3]
