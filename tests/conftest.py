"""Fixtures for every test: a home of its own, and no settings from the outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tunery import i18n

sys.path.insert(0, str(Path(__file__).parents[1]))  # ``tests.X`` for plugins and helpers
from tests.hub import hub  # noqa: F401  (a model hub on loopback)
from tests.models import demo_home, demo_model  # noqa: F401  (kept between sessions)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TUNERY_HOME of this test alone, in English."""
    folder = tmp_path / "tunery-home"
    monkeypatch.setenv("TUNERY_HOME", str(folder))
    for name in ("TUNERY_LANG", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    i18n.set_language(None)
    return folder
