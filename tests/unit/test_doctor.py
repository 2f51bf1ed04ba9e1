"""The doctor names what it sees and the fix for what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tunery.services.machine import _doctor, _rented


def test_versions_name_tunery_python_and_torch() -> None:
    found = _doctor.versions()
    assert found["tunery"]
    assert found["python"].startswith(f"{sys.version_info.major}.")
    assert found["torch"]


def test_a_hub_that_does_not_answer_is_a_note_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    finding = _doctor.hub()
    assert finding.level == "note"
    assert "127.0.0.1:9" in finding.text
    assert "HF_ENDPOINT" in finding.fix


def test_offline_is_normal_and_makes_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in _doctor.hub().text


def test_a_rented_box_is_told_which_disk_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "x")
    assert _doctor.survives(Path("/workspace/a"))[0] is True
    lasting, why = _doctor.survives(Path("/root/.tunery"))
    assert lasting is False
    assert "/workspace" in why


def test_autodl_tells_what_a_stop_and_a_release_keep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, shared = tmp_path / "autodl-tmp", tmp_path / "autodl-fs"
    monkeypatch.setattr(_rented, "AUTODL_DATA", data)
    monkeypatch.setattr(_rented, "AUTODL_SHARED", (shared,))
    assert _doctor.survives(data)[1] == "" or "autodl" not in _doctor.survives(data)[1]
    data.mkdir()
    lasting, why = _doctor.survives(data / "tunery")
    assert lasting is True
    assert "deleted when it is released; copy your results" in why
    shared.mkdir()
    assert f"copy them to {shared}" in _doctor.survives(data / "tunery")[1]
    assert _doctor.survives(shared / "x") == (
        True,
        f"{shared} is kept after the instance is released",
    )
    lasting, why = _doctor.survives(Path("/root/.tunery"))
    assert lasting is True
    assert f"the system disk is small; {data} is larger" in why


def test_an_unwritable_home_is_a_problem_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_HOME", "/proc/tunery")
    finding = next(f for f in _doctor._disks() if f.name == "disk TUNERY_HOME")
    assert finding.level == "problem"
    assert "TUNERY_HOME" in finding.fix


def test_a_torchvision_built_for_another_torch_is_a_problem_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    about = tmp_path / "torchvision-0.20.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.20.0\n")
    package = tmp_path / "torchvision" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    found = [f for f in _doctor.examine() if f.name == "package torchvision"]
    assert [f.level for f in found] == ["problem"]
    assert "torchvision 0.20.0" in found[0].text
    assert "operator torchvision::nms does not exist" in found[0].text
    assert "pip uninstall torchvision" in found[0].fix
    package.write_text("")
    assert [f for f in _doctor.examine() if f.name == "package torchvision"] == []
