"""The demo model for tests: fetched and converted once, kept between sessions.

``TUNERY_TEST_MODELS`` (default ``~/.cache/tunery-test``) is its home. ``demo_model`` is its folder;
``demo_home`` shows it under the name ``demo`` in this test's own TUNERY_HOME.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunery.models.demo import ensure_demo


def models_home() -> Path:
    """The TUNERY_HOME that outlives a test session."""
    place = os.environ.get("TUNERY_TEST_MODELS") or Path.home() / ".cache" / "tunery-test"
    return Path(place).expanduser().absolute()


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The folder of the converted demo model; nobody may write in it."""
    before = os.environ.get("TUNERY_HOME")
    os.environ["TUNERY_HOME"] = str(models_home())
    try:
        return ensure_demo()
    finally:
        if before is None:
            del os.environ["TUNERY_HOME"]
        else:
            os.environ["TUNERY_HOME"] = before


@pytest.fixture
def demo_home(demo_model: Path, home: Path) -> Path:
    """This test's TUNERY_HOME, in which the demo model has its name ``demo``."""
    (home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models" / "demo").symlink_to(demo_model, target_is_directory=True)
    return home
