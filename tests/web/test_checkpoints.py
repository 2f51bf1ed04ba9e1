"""Deleting a checkpoint by hand: what a run needs stays, and the sentence says why."""

from __future__ import annotations

import pytest
from tests.web.test_runs_api import write_run

from tunery.runs import manifest
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder

FACTS = {"config_hash": "c", "data_hash": "d", "run": "good", "versions": {}}


@pytest.fixture
def run(home) -> RunFolder:
    """Five checkpoints: 2 is pinned, 3 the best, 4 the newest whole one, 5 damaged."""
    folder = write_run("good", status="stopped", steps=5)
    for step in range(1, 6):
        place = folder.checkpoint_dir(step)
        place.mkdir()
        (place / "weights").write_bytes(b"w" * 100)
        manifest.write_manifest(place, step=step, **FACTS)
    (folder.checkpoint_dir(2) / manifest.PINNED).touch()
    (folder.checkpoint_dir(5) / manifest.FILE_NAME).write_text("{}")
    with EventWriter(folder.events_file) as writer:
        writer.write("eval", step=3, loss=0.1, best=True)
        writer.write("checkpoint", step=3, folder="step-00000003", bytes=1, seconds=1.0, best=True)
    return folder


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (2, "is pinned"),
        (3, "is the best one"),
        (4, "is the newest complete one and cannot be deleted"),
    ],
)
def test_what_a_run_needs_stays(client, run: RunFolder, step: int, why: str) -> None:
    answer = client.delete(f"/api/v1/runs/good/checkpoints/{step}")
    assert answer.status_code == 409
    assert why in answer.json()["detail"]
    assert manifest.verify(run.checkpoint_dir(step))["step"] == step


@pytest.mark.parametrize("step", [1, 5])
def test_others_go_damaged_ones_too(client, run: RunFolder, step: int) -> None:
    answer = client.delete(f"/api/v1/runs/good/checkpoints/{step}").json()
    assert answer["deleted"] == step
    assert answer["bytes"] >= 100
    assert not run.checkpoint_dir(step).exists()
    assert all(manifest.step_of(path) for path in run.checkpoints_dir.iterdir())
    assert client.delete(f"/api/v1/runs/good/checkpoints/{step}").status_code == 404


def test_the_page_does_not_offer_it_for_the_best_and_the_newest(client, run: RunFolder) -> None:
    page = client.get("/runs/good").text
    assert [s for s in range(1, 6) if f'data-checkpoint="{s}"' in page] == [1, 2, 5]
    assert "Delete the checkpoint of step 1? This cannot be undone." in page
