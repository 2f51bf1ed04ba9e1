"""Every example is a config that can be trained: it loads and breaks no rule between sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery.config import load, rules

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_loads_and_its_sections_agree(file: Path) -> None:
    config = load.load([file]).config
    rules.check(config)
    assert config.data.train
