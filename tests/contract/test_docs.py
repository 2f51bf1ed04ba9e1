"""Every command and every YAML block in the documents is real."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tunery.cli.main import commands as known_commands
from tunery.config import load
from tunery.config.settings import walk
from tunery.errors import TuneryError

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(tunery [^`]+)`")


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line
            for kind, block in FENCE.findall(text)
            if kind in ("bash", "sh", "")
            for line in block.splitlines()
        ]
        lines += INLINE.findall(FENCE.sub("", text))
        found += [(page.name, line.strip()) for line in lines if line.strip().startswith("tunery ")]
    return found


def yaml_blocks() -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for kind, block in FENCE.findall(page.read_text(encoding="utf-8"))
        if kind == "yaml"
    ]


def test_there_are_commands_and_blocks_to_look_at() -> None:
    assert len(commands()) > 10
    assert yaml_blocks()


def test_a_command_in_the_documents_exists_with_its_settings() -> None:
    assert [problem for page, line in commands() for problem in unknown(page, line)] == []


def unknown(page: str, line: str) -> Iterator[str]:
    words = shlex.split(line.split(" #")[0])
    names = [word for word in words[1:] if not word.startswith("-")]
    if names and names[0] not in known_commands():
        yield f"{page}: {line}"
    known = {setting.path for setting in walk()}
    for word in words:
        dotted = re.fullmatch(r"--([a-z_]+(?:\.[a-z_]+)+)(?:=.*)?", word)
        if dotted and not {dotted[1], dotted[1].rsplit(".", 1)[0]} & known:
            yield f"{page}: {dotted[1]}"


def test_a_yaml_block_in_the_documents_loads(tmp_path: Path) -> None:
    problems = []
    for page, block in yaml_blocks():
        file = tmp_path / "block.yaml"
        file.write_text(block, encoding="utf-8")
        try:
            origins = load.load([file]).origins
        except TuneryError as error:
            problems.append(f"{page}: {error}")
        else:
            if not any("block.yaml" in origin for origin in origins.values()):
                problems.append(f"{page}: sets nothing")
    assert problems == []
