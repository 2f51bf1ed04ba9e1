"""Every sentence for people exists in Chinese, and no translation is stale."""

from __future__ import annotations

import ast
import json
import re
import string
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from json import decoder, scanner
from pathlib import Path

import docstring_parser
import pytest
from cyclopts import App
from jinja2 import nodes

import tunery
from tunery import i18n
from tunery.cli.main import build_app, commands
from tunery.config import settings
from tunery.config.exporters import EXPORTERS
from tunery.config.methods import METHODS
from tunery.measures import Measure
from tunery.web.render import environment

ROOT = Path(tunery.__file__).parent
PARTS = ROOT / "locales" / "parts"


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    merged: dict[str, str] = {}
    for file in sorted(PARTS.glob("*.json")):
        merged |= json.loads(file.read_text(encoding="utf-8"))
    return merged


@pytest.fixture(scope="module")
def literals() -> dict[str, str]:
    """Every English literal given to t(), with the place of its first use."""
    found: dict[str, str] = {}
    for place, argument in _arguments():
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            found.setdefault(argument.value, place)
    for place, argument in _template_arguments():
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            found.setdefault(argument.value, place)
    return found


def test_sentences_are_literals():
    assert [
        place for place, argument in _arguments() if not isinstance(argument, ast.Constant)
    ] == []
    assert [
        place for place, argument in _template_arguments() if not isinstance(argument, nodes.Const)
    ] == []


def test_scripts_say_only_what_a_template_lists():
    listed = {
        argument.value for _, argument in _template_arguments() if isinstance(argument, nodes.Const)
    }
    assert [f"{place}: {text}" for place, text in _script_sentences() if text not in listed] == []


def test_every_sentence_in_the_code_has_a_chinese_one(table, literals):
    assert [f"{place}: {text}" for text, place in literals.items() if text not in table] == []


def test_every_help_text_of_the_commands_has_a_chinese_one(table):
    known = {" ".join(key.split()) for key in table}
    assert [text for text in sorted(set(_help_texts())) if text not in known] == []


def test_every_measure_and_exporter_has_a_chinese_name(table):
    assert [label for label in [*_measures(), *_exporters()] if label not in table] == []


def test_no_translation_is_stale(table, literals):
    parsers = _json_parser_messages()  # the standard library's words, shown in data errors
    used = {*literals, *_help_texts(), *_phrases(), *_measures(), *_exporters(), *parsers}
    assert [key for key in table if key not in used] == []


def test_no_sentence_is_translated_in_two_ways():
    seen: dict[str, set[str]] = defaultdict(set)
    for file in PARTS.glob("*.json"):
        for english, chinese in json.loads(file.read_text(encoding="utf-8")).items():
            seen[english].add(chinese)
    assert {english: found for english, found in seen.items() if len(found) > 1} == {}


def test_translations_have_the_same_places_as_the_english(table):
    assert {e: c for e, c in table.items() if _places(e) != _places(c)} == {}


HALF_WIDTH = re.compile(
    r"[。；，：！？] "  # a full-width mark brings its own space
    r"|(?<=[\u4e00-\u9fff。”）}]) ?[;()]|[;()] ?(?=[\u4e00-\u9fff“（])"
)
QUOTED = {"data.delimiter", "Give one character, such as ; or |, or the word tab."}
"""Whose half-width mark is an example of what to type."""


def test_chinese_sentences_have_chinese_punctuation(table):
    labels = json.loads((ROOT / "locales" / "labels.json").read_text(encoding="utf-8"))
    named = {f"label {path}": chinese for path, (_, chinese) in labels.items()}
    every = {**table, **settings.chinese(), **named}
    found = {
        key: text
        for key, text in every.items()
        if key not in QUOTED and _is_chinese(text) and HALF_WIDTH.search(text)
    }
    assert found == {}


def test_a_token_has_one_name_in_chinese(table):
    files = [*(ROOT / "locales").rglob("*.json"), ROOT.parents[1] / "README.zh.md"]
    assert [f.name for f in files if "词元" in f.read_text(encoding="utf-8")] == []


def test_a_base_model_has_one_name_in_chinese(table):
    root = ROOT.parents[1]
    files = [*(ROOT / "locales").rglob("*.json"), *root.glob("*.zh.md"), *root.glob("docs/*.zh.md")]
    others = re.compile("基础模型|底座|原始模型|基模型")
    assert [f.name for f in files if others.search(f.read_text(encoding="utf-8"))] == []
    named = {key: text for key, text in table.items() if "base model" in key.lower()}
    assert len(named) > 10
    assert {key: text for key, text in named.items() if "基座模型" not in text} == {}


def test_every_setting_and_section_has_chinese_help_and_none_is_stale():
    known = {group.key for group in settings.groups()}
    known |= {s.key for s in settings.walk() if not s.key.endswith(".type")}
    translated = settings.chinese()
    assert known - translated.keys() == set()
    assert translated.keys() - known == set()
    assert [key for key in known if not _is_chinese(translated[key])] == []


def test_every_setting_and_section_has_english_help():
    assert [g.key for g in settings.groups() if not g.english.endswith(".")] == []
    assert [s.key for s in settings.walk() if not s.english.endswith(".")] == []


def _arguments() -> Iterator[tuple[str, ast.expr | None]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in _calls(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield place, node.args[0] if node.args else None


def _template_arguments() -> Iterator[tuple[str, nodes.Expr | None]]:
    """What templates give to t() and words(), each argument of words by itself."""
    for path in sorted((ROOT / "web" / "templates").rglob("*.html")):
        tree = environment().parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if not isinstance(call.node, nodes.Name) or call.node.name not in ("t", "words"):
                continue
            place = f"{path.relative_to(ROOT)}:{call.lineno}"
            arguments = call.args if call.node.name == "words" else call.args[:1]
            yield from ((place, argument) for argument in arguments or [None])


def _script_sentences() -> Iterator[tuple[str, str]]:
    """Every literal given to t() in the page's scripts."""
    for path in sorted((ROOT / "web" / "static" / "js").rglob("*.js")):
        for match in re.finditer(
            r'(?<![\w.$])t\(\s*"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")
        ):
            yield str(path.relative_to(ROOT)), json.loads(f'"{match[1]}"')


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    phrases = any(
        isinstance(node, ast.ImportFrom | ast.FunctionDef) and "say" in _names(node)
        for node in ast.walk(tree)
    )
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        # say() may also be given a phrase that stands in a table of its module.
        literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if name in ("t", "i18n.t") or (name == "say" and phrases and literal):
            yield node


def _names(node: ast.ImportFrom | ast.FunctionDef) -> set[str]:
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    return {alias.name for alias in node.names}


def _places(text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:  # a help text about {{placeholders}} is no format string
        return set()


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def _measures() -> list[str]:
    """What the measures of methods are called, also of those that settings add."""
    added = [vars(sys.modules[kind.__module__]).values() for kind in METHODS]
    found = [value for values in added for value in values if isinstance(value, Measure)]
    return [
        measure.label for measure in (*found, *(each for kind in METHODS for each in kind.measures))
    ]


def _exporters() -> list[str]:
    """What exporters are called and good for."""
    return [text for kind in EXPORTERS for text in (kind.label, kind.about)]


def _help_texts() -> list[str]:
    """Everything that a help page says beside the settings, paragraph by paragraph."""
    assert i18n.language() == "en"
    app = build_app()
    texts = [app.help, *commands().values(), app["--help"].help, app["--version"].help]
    for name in commands():
        texts += _texts_of(app[name])
    paragraphs = (part for text in texts if text for part in text.split("\n\n"))
    return [" ".join(part.split()) for part in paragraphs if part.strip()]


def _texts_of(app: App) -> Iterator[str | None]:
    described = docstring_parser.parse(app.help or "")
    yield described.short_description
    yield described.long_description
    if app.default_command is not None:
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.parameter.show is not False:
                yield argument.parameter.help
    for name in app:
        if not name.startswith("-"):
            yield from _texts_of(app[name])


def _phrases() -> list[str]:
    """Sentences that modules keep as data: the checker's codes, the doctor's fixes."""
    texts: list[str] = []
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if re.search(r"translated\(|\bsay\b|Phrase", path.read_text(encoding="utf-8")):
            texts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    return texts


def _json_parser_messages() -> set[str]:
    source = "".join(Path(m.__file__ or "").read_text(encoding="utf-8") for m in (decoder, scanner))
    texts = re.findall(r'"([A-Z][^"]+)"', source)
    return {text[:1].lower() + text[1:].removesuffix(" at") for text in texts}


def test_the_tables_are_in_the_package():
    assert (resources.files("tunery") / "locales" / "config_zh.json").is_file()


ONE_NAME = {
    "模型库": ("模型中心", "模型站点", "模型仓库", "模型来源", "Hub 上", "站点"),
    "评估": ("评测",),
    "回放": ("用于重放",),
    "隔离": ("搁置", "放到一边"),
    "数值格式": ("数值类型", "数字格式"),
    "继续训练": ("恢复训练",),
    "完全匹配": ("精确匹配", "完全一致"),
}
"""One Chinese name for one thing, and the names that were used beside it."""


def test_a_hub_is_never_called_a_repository_in_chinese():
    english = re.compile(r"\bhubs?\b", re.I)
    wrong = {
        key: chinese
        for key, chinese in i18n._chinese().items()
        if english.search(key) and not re.search(r"\brepo", key) and "仓库" in chinese
    }
    assert wrong == {}


def test_one_thing_has_one_chinese_name():
    root = ROOT.parents[1]
    files = [*(ROOT / "locales").rglob("*.json"), *root.glob("*.zh.md"), *root.glob("docs/*.zh.md")]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    others = re.compile("|".join(other for names in ONE_NAME.values() for other in names))
    assert {name: others.findall(text) for name, text in texts.items() if others.search(text)} == {}
    assert [name for name in ONE_NAME if not any(name in text for text in texts.values())] == []
