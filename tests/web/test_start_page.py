"""Start: the steps are ticked by what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunery.services import first_steps
from tunery.services.datasets import own_folder
from tunery.services.machine import _hardware
from tunery.state import marks


def done() -> set[str]:
    return {step.key for step in first_steps.first_steps() if step.done}


def test_nothing_is_ticked_in_an_empty_home(client: TestClient):
    text = client.get("/").text
    assert done() == set()
    assert "Start here" in text
    assert text.count('class="done"') == 0


def test_a_model_ticks_the_first_step(demo_home: Path):
    assert done() == {"model"}
    step = first_steps.first_steps()[0]
    assert step.text.startswith("demo is ready (")


def test_a_chat_and_a_comparison_are_remembered(home: Path):
    marks.mark("chatted")
    marks.mark("compared")
    assert done() == {"chat", "compare"}


@pytest.mark.parametrize(("answer", "ticked"), [("I am Tuna.", True), ("I am {{name}}.", False)])
def test_a_dataset_of_ones_own_counts_once_no_blank_is_left(
    home: Path, client: TestClient, answer: str, ticked: bool
):
    row = {
        "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}]
    }
    folder = own_folder("mine")
    folder.mkdir(parents=True)
    file = folder / "mine.jsonl"
    file.write_text(json.dumps(row) + "\n")
    (home / "datasets" / "datasets.json").write_text(
        json.dumps({"mine": {"path": str(file), "format": "openai"}})
    )
    assert ("identity" in done()) is ticked


def test_the_steps_can_be_hidden_and_shown_again(client: TestClient):
    assert client.put("/api/v1/machine/first-steps", json={"hidden": True}).json()["hidden"]
    text = client.get("/").text
    assert 'id="steps"' not in text
    assert "Show first steps" in text
    client.put("/api/v1/machine/first-steps", json={"hidden": False})
    assert 'id="steps"' in client.get("/").text


def test_the_machine_is_described_without_waiting(client: TestClient):
    facts = client.get("/api/v1/machine").json()
    assert facts["cores"] >= 1
    assert 0 < facts["available_bytes"] <= facts["memory_bytes"]
    assert facts["disk_free_bytes"] > 0
    assert facts["hub"] == "huggingface.co"


def test_offline_by_choice_is_no_error(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    answer = client.get("/api/v1/machine/hub").json()
    assert answer["offline"]
    assert not answer["reachable"]


def test_a_gpu_is_read_from_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient
):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'NVIDIA GeForce RTX 4090, 24564, 23654, 3, 560.35.03'\n"
        "echo 'Odd, Name 9, [N/A], 1, [N/A], 1.0'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _hardware._ask_smi.cache_clear()
    try:
        first, odd = _hardware.gpus()
        assert first.name == "NVIDIA GeForce RTX 4090"
        assert first.total_bytes == 24564 * 2**20
        assert first.busy == 0.03
        assert (odd.name, odd.total_bytes, odd.busy) == ("Odd, Name 9", 0, None)
        assert "RTX 4090" in client.get("/").text
    finally:
        _hardware._ask_smi.cache_clear()
