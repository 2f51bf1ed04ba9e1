"""The light side starts fast and imports nothing heavy."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "datasets", "fastapi", "pyarrow", "peft", "numpy", "accelerate"}
PARSER = {"cyclopts", "rich", "pydantic", "ruamel", "huggingface_hub", "httpx"}

LIGHT_COMMANDS = [
    ["--help"],
    ["version", "--json"],
    ["config", "show", "--preset", "identity", "--origins"],
    ["config", "schema"],
    ["train", "--help"],
    ["plan", "--help"],
    ["runs", "list", "--json"],
    ["models", "--help"],
    ["data", "--help"],
    ["chat", "--help"],
    ["export", "--help"],
]


def test_version_imports_neither_anything_heavy_nor_the_command_parser():
    done = _run(["-X", "importtime", "-m", "tunery", "--version"])
    assert done.returncode == 0
    assert done.stdout.startswith("tunery ")
    assert _imported(done.stderr) & (HEAVY | PARSER) == set()


def test_version_answers_after_half_a_second_of_work():
    """Counted in processor time: how long that takes depends on what else the machine does."""

    def worked() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = worked()
    assert _run(["-m", "tunery", "--version"]).returncode == 0
    assert worked() - before < 0.5


@pytest.mark.parametrize("words", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_nothing_heavy(words: list[str]):
    done = _run(["-X", "importtime", "-m", "tunery", *words])
    assert done.returncode == 0, done.stderr[-2000:]
    assert _imported(done.stderr) & HEAVY == set()


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def _imported(report: str) -> set[str]:
    lines = [line for line in report.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
