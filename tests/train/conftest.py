"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.train import tiny
from tests.train.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A process that has imported torch and starts workers in milliseconds."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return tiny.folder(tmp_path_factory.mktemp("model") / "tiny")
