"""Every example is a config that can be trained: it loads and breaks no rule between sections."""

from __future__ import annotations

from pathlib import Path

from tunery.config import load, rules
from tunery.errors import TuneryError

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_every_example_loads_and_its_sections_agree() -> None:
    problems = []
    for file in EXAMPLES:
        try:
            config = load.load([file]).config
            rules.check(config)
        except TuneryError as error:
            problems.append(f"{file.name}: {error}")
        else:
            if not config.data.train:
                problems.append(f"{file.name}: names no rows to train on")
    assert EXAMPLES
    assert problems == []
