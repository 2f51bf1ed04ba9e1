"""Manifests: a damaged checkpoint is never taken for a good one."""

from __future__ import annotations

import json
import shutil

import pytest

from tunery.errors import RunError
from tunery.runs import manifest


def save(checkpoints, step: int):
    folder = checkpoints / f"step-{step:08d}"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "adapter" / "adapter_config.json").write_text('{"r": 8}')
    (folder / "optimizer.safetensors").write_bytes(b"o" * 5000)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    manifest.write_manifest(
        folder, step=step, config_hash="c", data_hash="d", run="r", versions={"torch": "2"}
    )
    return folder


def test_a_whole_checkpoint_verifies(tmp_path) -> None:
    folder = save(tmp_path, 100)
    found = manifest.verify(folder)
    assert found["step"] == 100
    assert [f["name"] for f in found["files"]] == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]


FILES = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "optimizer.safetensors",
    "state.json",
    "MANIFEST.json",
)


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_any_cut_and_any_zeroed_tail_is_seen(tmp_path, name) -> None:
    good = save(tmp_path / "good", 7)
    whole = (good / name).read_bytes()
    for place in range(10):
        at = place * (len(whole) - 1) // 9
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        zeroed = whole[: at // 2] + b"\0" * (len(whole) - at // 2)
        for damaged in (bytes(flipped), whole[:at], zeroed, whole + b"x"):
            (good / name).write_bytes(damaged)
            with pytest.raises(RunError) as caught:
                manifest.verify(good)
            assert name in caught.value.message
    (good / name).write_bytes(whole)
    manifest.verify(good)


def test_a_missing_file_a_link_and_a_foreign_step_are_seen(tmp_path) -> None:
    folder = save(tmp_path, 5)
    state = folder / "state.json"
    state.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"state\.json is missing"):
        manifest.verify(folder)
    state.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"state\.json is outside the checkpoint folder"):
        manifest.verify(folder)
    other = save(tmp_path, 6)
    shutil.copy(other / "MANIFEST.json", folder / "MANIFEST.json")
    with pytest.raises(RunError, match=r"MANIFEST\.json belongs to step 6"):
        manifest.verify(folder)


def test_an_edited_manifest_is_seen_even_if_it_fits_the_files(tmp_path) -> None:
    folder = save(tmp_path, 5)
    value = json.loads((folder / "MANIFEST.json").read_text())
    value["data_hash"] = "another"
    (folder / "MANIFEST.json").write_text(json.dumps(value))
    with pytest.raises(RunError, match="was modified after it was written"):
        manifest.verify(folder)


def test_the_newest_valid_one_is_by_step_and_names_those_passed_over(tmp_path) -> None:
    for step in (5, 100, 20):
        save(tmp_path, step)
    (tmp_path / ".staging-120-1").mkdir()
    (tmp_path / "step-00000100" / "optimizer.safetensors").unlink()
    found, rejected = manifest.newest_valid(tmp_path)
    assert found is not None
    assert found.name == "step-00000020"
    assert [r.folder.name for r in rejected] == ["step-00000100"]
    assert "optimizer.safetensors is missing" in rejected[0].reason
    assert manifest.newest_valid(tmp_path / "nothing") == (None, [])
