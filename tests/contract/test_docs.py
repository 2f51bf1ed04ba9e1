"""Every command and every YAML block in the documents is real."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tunery.cli.main import commands as known_commands
from tunery.config import load
from tunery.config.settings import walk
from tunery.errors import TuneryError
from tunery.services.machine import _rented

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


def test_make_help_lists_every_target_and_the_documents_name_no_other() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()) - {"help"}
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {t for t in targets if re.search(rf"^  {t}  ", shown, re.MULTILINE)} == targets
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        named = {m[1] for line in lines if (m := re.match(r"make ([a-z-]+)", line))}
        assert named <= targets | {"help"}, page


def test_a_file_that_a_document_links_or_runs_exists() -> None:
    missing = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        linked = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", text)
        missing += [f"{page.name}: {link}" for link in linked if not (page.parent / link).exists()]
        run = re.findall(r"\b((?:benchmarks|tests)/[\w/]+\.py)", text)
        missing += [f"{page.name}: {name}" for name in run if not (ROOT / name).exists()]
    assert missing == []


def test_a_figure_of_the_readme_stands_in_the_log_with_its_command() -> None:
    log = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    rows = []
    for name in ("README.md", "README.zh.md"):
        readme = (ROOT / name).read_text(encoding="utf-8")
        rows += [line for line in readme.splitlines() if "benchmarks/" in line]
    assert len(rows) == 8
    for row in rows:
        _, _, ours, beside, _, command, _ = row.split("|")
        assert command.strip(" `") in log, command
        figures = re.findall(r"\d[\d,.]*\d", f"{ours} {beside}")
        assert figures
        for figure in figures:
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d])", log), figure


def test_a_message_that_troubleshooting_quotes_is_one_of_the_product() -> None:
    parts = ROOT / "src" / "tunery" / "locales" / "parts"
    words = {
        k: v for f in parts.glob("*.json") for k, v in json.loads(f.read_text("utf-8")).items()
    }
    for page, said in (("troubleshooting.md", words), ("troubleshooting.zh.md", words.values())):
        known = [re.sub(r"\{[^}]*\}", "…", sentence) for sentence in said]
        known += [sentence.replace("…", "torchvision", 1) for sentence in known]
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        inline = re.findall(r"`([^`]+)`", FENCE.sub("", text))
        quoted = [each for each in inline if each != "…" and ("…" in each or each[-1] in ".。")]
        assert len(quoted) >= 3
        assert [each for each in quoted if not any(k.startswith(each) for k in known)] == []


def test_the_disks_of_rented_machines_are_those_that_the_doctor_knows() -> None:
    known = {(provider, folder) for folder, provider in _rented.MARKS.values()}
    known.add((_rented.AUTODL, str(_rented.AUTODL_DATA)))
    for page in ("boxes.md", "boxes.zh.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert set(re.findall(r"^\| ([\w.]+) \| `(/[^`]+)` \|$", text, re.MULTILINE)) == known
