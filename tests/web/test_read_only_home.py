"""A home that cannot be written: every server says so in a sentence and ends."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

UNWRITABLE = Path("/sys/tunery-home")
"""The system allows no folder there, not even to root."""


@pytest.mark.parametrize("no_home", [UNWRITABLE, Path("/dev/null/home")])
@pytest.mark.parametrize(
    ("module", "words"), [("tunery.web.__main__", []), ("tunery.server.__main__", ["demo"])]
)
def test_a_server_ends_with_a_sentence(
    module: str,
    words: list[str],
    no_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(no_home))
    monkeypatch.setattr("tunery.services.chat.fix_served", lambda models: [])
    assert importlib.import_module(module).main([*words, "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert str(no_home) in said
    assert "fix: " in said
