"""No sentence of the page names a command, a flag or a variable that a field stands for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tunery
from tunery import i18n
from tunery.services import settings
from tunery.services.settings import _page_sentences

ROOT = Path(tunery.__file__).parent
TERMINAL = re.compile(
    r"\btunery [a-z]|(?<![\w-])--[a-z]|\bhf auth|\b(run again|再运行一次)"
    r"|\b(HF_ENDPOINT|HF_TOKEN|MODELSCOPE_ENDPOINT|MODELSCOPE_API_TOKEN)\b"
)
ONLY_IN_A_TERMINAL = (
    "cli/", "config/reference.py", "server/__main__.py", "server/port.py", "server/run.py",
    "server/settings.py",
)  # fmt: skip
"""Modules whose sentences are printed where the command was given."""
STARTS_THE_SERVER = (
    "tunery web", "--public-url", "tunery runs notify", "llama-gguf-split", "--gpus all",
)  # fmt: skip
"""What only whoever starts the server can do: no page can offer it."""


def sentences() -> dict[str, str]:
    """Every sentence that the page can show, with its file."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        place = str(path.relative_to(ROOT))
        if place.startswith(ONLY_IN_A_TERMINAL):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("t", "say"):
                text = call.args[0] if call.args else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found[text.value] = place
    return found


@pytest.mark.parametrize("language", i18n.LANGUAGES)
def test_the_page_names_no_command(language: str) -> None:
    left: list[str] = []
    for sentence, place in sentences().items():
        with i18n.speaking(language):
            told = settings.for_the_page(i18n.translated(sentence))
        if TERMINAL.search(told) and not any(part in told for part in STARTS_THE_SERVER):
            left.append(f"{place}: {told}")
    assert left == []


def test_every_sentence_that_the_page_replaces_is_said_somewhere() -> None:
    assert _page_sentences.INSTEAD.keys() - sentences().keys() == set()


def test_what_the_page_says_instead_needs_no_other_values() -> None:
    place = re.compile(r"\{(\w+)")
    for terminal, page in _page_sentences.INSTEAD.items():
        assert set(place.findall(page.template)) <= set(place.findall(terminal)), terminal
