"""Runs written by an earlier Tunery go on here, and the numbers of training stay what they were.

tests/data/old_runs was written by commit f61eaa6; its ``make.py`` says how, and runs the worker
under variables that keep the numbers independent of the processor.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.data.old_runs import make
from tests.web.conftest import BASE, log_in

DATA = Path(make.__file__).parent
VERSIONS: dict[str, str] = json.loads(next(DATA.rglob("MANIFEST.json")).read_text())["versions"]
CHANGED = [name for name, version in VERSIONS.items()
           if name != "tunery" and importlib.metadata.version(name) != version]  # fmt: skip
same_packages = pytest.mark.skipif(
    bool(CHANGED), reason=f"other packages than the bits were made with: {', '.join(CHANGED)}"
)


def placed(home: Path) -> Path:
    """A TUNERY_HOME with copies of the old runs, their model and their data."""
    for part in make.PARTS:
        shutil.copytree(DATA / part, home / part)
    shutil.copy(DATA / "rows.jsonl", home)
    make.relocate(home, make.HOME, str(home))
    return home


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stopped runs; no test continues one of these."""
    return placed(tmp_path_factory.mktemp("old"))


def command(home: Path, *words: object) -> Any:
    """Run a command in its own process; returns what it printed, from JSON."""
    return json.loads(_output(home, "-m", "tunery", *words, "--json"))


def made(home: Path, *words: object) -> Any:
    """Run the generator in its own process; returns what it printed, from JSON."""
    return json.loads(_output(home, DATA / "make.py", *words))


def _output(home: Path, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, **make.ENVIRONMENT, "TUNERY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_old_runs_are_listed(old: Path) -> None:
    listed = {row["name"]: row for row in command(old, "runs", "list")}
    assert set(listed) == {"lora", "full"}
    for name, row in listed.items():
        told = (row["status"], row["step"], row["num_steps"], row["checkpoint_step"])
        assert told == ("stopped", 2, 4, 2)
        assert (row["method"], row["adapter"], row["data"]) == ("sft", name, ["old-rows"])


@pytest.mark.parametrize("name", ["lora", "full"])
def test_an_old_run_is_shown(old: Path, name: str) -> None:
    shown = command(old, "runs", "show", name)
    assert (shown["rows"]["train"], shown["rows"]["held_out"]) == (10, 2)
    assert [answer["prompt"] for answer in shown["answers"]] == ["who are you?"]
    assert f"tunery runs resume {name}" in shown["next"]


def test_old_runs_are_compared_and_have_their_pages(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunery.server.settings import ServerSettings
    from tunery.web.app import create

    monkeypatch.setenv("TUNERY_HOME", str(old))
    with log_in(TestClient(create(ServerSettings()), BASE)) as client:
        compared = client.get("/compare", params={"ids": "lora,full"}).text
        assert "adapter.dropout" in compared
        assert "optim.learning_rate" in compared
        for name in make.ADAPTERS:
            page = client.get(f"/runs/{name}")
            assert page.status_code == 200
            assert "who are you?" in page.text


@pytest.mark.parametrize("name", ["lora", "full"])
def test_an_old_run_answers_beside_its_base(old: Path, name: str) -> None:
    said = command(
        old, "chat", name, "--against", "base", "--prompt", "hi", "--greedy",
        "--max-new-tokens", 4,
    )  # fmt: skip
    assert [answer["model"] for answer in said["answers"]] == [name, "base"]
    assert [answer["tokens"] for answer in said["answers"]] == [4, 4]


@pytest.mark.parametrize(("name", "form"), [("lora", "merged"), ("lora", "adapter"),
                                            ("full", "merged")])  # fmt: skip
def test_an_old_run_is_exported(old: Path, tmp_path: Path, name: str, form: str) -> None:
    made = command(old, "export", name, "--to", form, tmp_path / "out")
    assert (made["source"], made["format"], made["base"]) == (name, form, str(old / "base"))
    assert made["parity"]["max_logit_difference"] < 1e-4
    kept = "adapter/adapter_model" if form == "adapter" else "model/model"
    (written,) = (tmp_path / "out").glob("*.safetensors")
    (before,) = (old / "runs" / name / "checkpoints").glob("*/*/*.safetensors")
    same = written.read_bytes() == before.read_bytes()
    assert same == (f"{before.parent.name}/{before.stem}" == kept)


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same without one section or field, named by its path."""
    if len(names) == 1:
        return {name: value for name, value in values.items() if name != names[0]}
    return {**values, names[0]: _without(values[names[0]], *names[1:])}


@same_packages
@pytest.mark.parametrize("name", ["lora", "full"])
def test_an_old_run_is_resumed_to_the_bit(tmp_path: Path, name: str) -> None:
    home = placed(tmp_path / "home")
    expected = json.loads((DATA / "expected.json").read_text())[name]
    assert made(home, "resume", name) == expected
    shown = command(home, "runs", "show", name)
    assert (shown["status"], shown["step"]) == ("finished", 4)
    assert shown["answers"][0]["after"] is not None
    lines = (home / "runs" / name / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["step"] for event in events if event["type"] == "step"] == [1, 2, 3, 4]


@same_packages
def test_settings_that_an_older_tunery_did_not_write_have_their_defaults(tmp_path: Path) -> None:
    from tunery.config.frozen import read_frozen, to_yaml

    home = placed(tmp_path / "home")
    run = home / "runs" / "lora"
    whole = read_frozen(run / "config.yaml")
    lacking = whole.model_dump(mode="json")
    for section in (["method"], ["data", "replay"], ["optim", "betas"], ["train", "seed"]):
        lacking = _without(lacking, *section)
    (run / "config.yaml").write_text(to_yaml(lacking))
    assert read_frozen(run / "config.yaml") == whole
    manifest = next(run.rglob("MANIFEST.json"))
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "config": lacking}))
    make.relocate(run, make.HOME, str(home))  # signs it
    assert made(home, "resume", "lora") == json.loads((DATA / "expected.json").read_text())["lora"]


@same_packages
def test_five_steps_of_training_have_the_bits_that_they_had(tmp_path: Path) -> None:
    _output(tmp_path / "unused", DATA / "make.py", "bits", tmp_path / "bits.json")
    now = json.loads((tmp_path / "bits.json").read_text())
    before = json.loads((DATA / "bits.json").read_text())
    assert set(now) == set(before)
    assert [name for name in before if now[name] != before[name]] == []
