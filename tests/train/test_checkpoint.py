"""Contract G1, G7: a damaged checkpoint is found out, and no good one is deleted (T7, T16)."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.train import tiny

from tunery.config.checkpoint import CheckpointConfig
from tunery.errors import RunError, RunFailed
from tunery.parallel.solo import Solo
from tunery.runs import manifest
from tunery.train.state import saving
from tunery.train.state.checkpoint import PINNED, Checkpoints
from tunery.train.state.saving import often


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints at steps 10 and 12."""
    path = tmp_path_factory.mktemp("finished") / "run"
    assert tiny.run(path) == "finished"
    return path


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _flip(path: Path, generator: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: generator.randrange(len(data))])


def _zero_tail(path: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    keep = generator.randrange(len(data) // 2)
    path.write_bytes(data[:keep] + bytes(len(data) - keep))


def _remove(path: Path, generator: random.Random) -> None:
    path.unlink()


def _replace_by_folder(path: Path, generator: random.Random) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_flip, _truncate, _zero_tail, _remove, _replace_by_folder])
def test_damage_to_any_file_is_found_and_the_older_checkpoint_is_used(
    damaged: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    generator = random.Random(5)
    newest = damaged / "checkpoints" / "step-00000012"
    count = 0
    for file in _files(newest):
        for _ in range(4):
            whole = file.read_bytes()
            damage(file, generator)
            found = tiny.newest(damaged)
            assert found.step == 10
            (rejected,) = found.rejected
            assert rejected.folder == newest
            assert file.name in rejected.reason or "version" in rejected.reason
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            file.write_bytes(whole)
            count += 1
    assert tiny.newest(damaged).step == 12
    assert count >= 16


def test_an_edited_state_is_found(damaged: Path) -> None:
    file = damaged / "checkpoints" / "step-00000012" / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "step": 11}))
    assert tiny.newest(damaged).step == 10


def test_an_edited_manifest_is_found(damaged: Path) -> None:
    file = damaged / "checkpoints" / "step-00000012" / "MANIFEST.json"
    said = json.loads(file.read_text())
    said["data_hash"] = "e" * 64
    file.write_text(json.dumps(said))
    assert tiny.newest(damaged).step == 10


def test_the_manifest_of_another_step_is_found(damaged: Path) -> None:
    folder = damaged / "checkpoints"
    shutil.copy(
        folder / "step-00000010" / "MANIFEST.json", folder / "step-00000012" / "MANIFEST.json"
    )
    assert tiny.newest(damaged).step == 10


def test_a_file_of_another_step_is_found(damaged: Path) -> None:
    folder = damaged / "checkpoints"
    name = "optimizer.safetensors"
    shutil.copy(folder / "step-00000010" / name, folder / "step-00000012" / name)
    assert tiny.newest(damaged).step == 10


def test_a_checkpoint_under_another_name_is_found(damaged: Path) -> None:
    folder = damaged / "checkpoints"
    (folder / "step-00000012").rename(folder / "step-00000099")
    assert tiny.newest(damaged).step == 10


def test_a_resume_says_which_checkpoint_was_damaged_and_ends_equal(
    damaged: Path, finished: Path
) -> None:
    (damaged / "checkpoints" / "step-00000012" / "state.json").unlink()
    assert tiny.run(damaged) == "finished"
    (resumed,) = tiny.events(damaged, "resumed")
    assert resumed["step"] == 10
    assert resumed["rejected"][0]["folder"] == "step-00000012"
    (warning,) = tiny.events(damaged, "warning")
    assert "state.json" in warning["text"]
    assert "Step 10 is used" in warning["text"]
    assert tiny.digest(damaged) == tiny.digest(finished)


def test_with_every_checkpoint_damaged_the_run_begins_anew_and_ends_equal(
    damaged: Path, finished: Path
) -> None:
    for file in (damaged / "checkpoints").rglob("state.json"):
        file.write_text("{}")
    assert tiny.newest(damaged) is None
    assert tiny.run(damaged) == "finished"
    assert tiny.digest(damaged) == tiny.digest(finished)


def _some_checkpoints(folder: Path, steps: list[int]) -> None:
    for step in steps:
        staged = folder / f"step-{step:08d}"
        staged.mkdir(parents=True)
        (staged / "state.json").write_text("{}")
        manifest.write_manifest(
            staged, step=step, config_hash="", data_hash="", run="r", versions={}
        )


def _steps(folder: Path) -> list[int]:
    return sorted(manifest.step_of(path) or 0 for path in manifest.list_checkpoints(folder))


def _retain(folder: Path, *, keep: int, best: int | None) -> None:
    Checkpoints(folder, keep, lambda _: None, {}, Solo("cpu")).retain(best)


def test_the_newest_the_best_and_pinned_checkpoints_are_kept(tmp_path: Path) -> None:
    _some_checkpoints(tmp_path, [2, 4, 6, 8, 10, 12])
    (tmp_path / "step-00000004" / PINNED).touch()
    _retain(tmp_path, keep=2, best=6)
    assert _steps(tmp_path) == [4, 6, 10, 12]
    assert not list(tmp_path.glob(".trash-*"))


@pytest.mark.parametrize("shift_seconds", [-86400, -3600, 3600, 86400])
def test_a_jump_of_the_clock_changes_nothing_about_what_is_kept(
    tmp_path: Path, shift_seconds: int
) -> None:
    import os

    _some_checkpoints(tmp_path, [10, 20, 30, 40])
    for i, folder in enumerate(manifest.list_checkpoints(tmp_path)):
        for path in [folder, *folder.iterdir()]:
            os.utime(path, (time.time() + i * shift_seconds,) * 2)
    _retain(tmp_path, keep=2, best=None)
    assert _steps(tmp_path) == [30, 40]


def test_damaged_checkpoints_do_not_count_towards_those_kept(tmp_path: Path) -> None:
    _some_checkpoints(tmp_path, [2, 4, 6, 8])
    for step in (6, 8):
        (tmp_path / f"step-{step:08d}" / "MANIFEST.json").write_text("{}")
    _retain(tmp_path, keep=2, best=None)
    assert _steps(tmp_path) == [2, 4, 6, 8]


def test_a_good_checkpoint_of_the_same_step_is_not_replaced(tmp_path: Path) -> None:
    place = tiny.context(tmp_path / "run", tiny.config())
    with place.events:
        job = tiny.build(place)
        first = job.saver.checkpoints.save(job.state, job.optimizer)
        stamp = (first.folder / "MANIFEST.json").stat().st_ino
        job.saver.checkpoints.save(job.state, job.optimizer)
        assert (first.folder / "MANIFEST.json").stat().st_ino == stamp
        (first.folder / "state.json").write_text("{}")
        job.saver.checkpoints.save(job.state, job.optimizer)
        assert manifest.verify(first.folder)["step"] == 0


def test_a_checkpoint_with_a_value_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    place = tiny.context(tmp_path / "run", tiny.config())
    with place.events:
        job = tiny.build(place)
        name, tensor = next(iter(job.optimizer.state().items()))
        tensor.view(-1)[0] = float("nan")
        with pytest.raises(RunFailed, match="not finite"):
            job.saver.checkpoints.save(job.state, job.optimizer)
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    assert name


def test_what_killed_saves_left_behind_is_removed(tmp_path: Path) -> None:
    for name in (".staging-4-1", ".trash-step-00000002-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    Checkpoints(tmp_path, 1, lambda _: None, {}, Solo("cpu")).clean()
    assert not list(tmp_path.iterdir())


def test_parameters_of_another_shape_are_refused(finished: Path, tmp_path: Path) -> None:
    place = tiny.context(tmp_path / "other", tiny.config(adapter={"type": "lora", "rank": 2}))
    with place.events:
        job = tiny.build(place)
        with pytest.raises(RunError, match="has shape"):
            tiny.newest(finished).restore(job.optimizer, job.parallel)


def test_saving_after_each_of_many_short_epochs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert often(CheckpointConfig(), 1, 100) == ""
    assert often(CheckpointConfig(every=1), 1, 20_000) == ""
    assert "20,000 times" in often(CheckpointConfig(), 1, 20_000)
    assert "such as 200." in often(CheckpointConfig(), 1, 20_000)
    monkeypatch.setattr(saving, "MANY_SAVES", 2)
    short = {"batch_size": 100, "num_epochs": 3, "micro_batch_tokens": 80, "num_threads": 1}
    tiny.run(tmp_path, tiny.config(train=short, checkpoint={"every": "epoch"}))
    said = [e["text"] for e in tiny.events(tmp_path, "warning") if e["code"] == "often"]
    assert said == [often(CheckpointConfig(), 1, 3)]
