"""An adapter is used with the base it was trained on, or somebody says otherwise (A6, W3)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.chat_model import make_chat_model
from tests.train.adapters_made import adapter

from tunery.errors import ModelError, TuneryError
from tunery.models import bases
from tunery.models.rebase import name_base
from tunery.models.resolve import resolve
from tunery.runs.folder import RunFolder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "base")


@pytest.fixture
def run(home: Path, base: Path) -> RunFolder:
    folder = RunFolder(home / "runs" / "mine")
    folder.path.mkdir(parents=True)
    folder.events_file.write_text("")
    adapter(base, folder.adapter_dir)
    bases.record(folder.path, base)
    return folder


def replaced(base: Path) -> None:
    """Other weights of the same shape under the same name."""
    file = base / "model.safetensors"
    tensors = {name: tensor + 0.01 for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def chat(name: str) -> None:
    from tunery.cli.main import build_app

    build_app()(["chat", name, "--prompt", "hi"], exit_on_error=False)


def export(name: str) -> None:
    from tunery.services.export import export as write

    write(name, Path("out"), to="merged")


def test_the_right_base_is_used_without_a_word(run: RunFolder) -> None:
    assert resolve("mine").base is not None


def test_replaced_weights_are_refused_wherever_the_adapter_is_used(
    run: RunFolder, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replaced(base)
    uses: list[Callable[[str], None]] = [chat, export]
    for use in uses:
        with pytest.raises(
            TuneryError, match="does not have the weights it was trained on"
        ) as caught:
            use("mine")
        assert "tunery models base mine" in caught.value.fix
        assert caught.value.code == "other_base"


def verified(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, bool, str]:
    """Exit status of ``runs verify``, and what it says of the base."""
    from tunery.cli.main import build_app

    capsys.readouterr()
    status = build_app()(["runs", "verify", name, "--json"], exit_on_error=False,
                         result_action="return_value")  # fmt: skip
    (found,) = (f for f in json.loads(capsys.readouterr().out)["findings"] if f["id"] == "I9")
    return status, found["ok"], found["text"]


def test_verifying_a_run_compares_its_base(
    run: RunFolder,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run.config_file.write_text("")
    assert verified("mine", capsys)[1:] == (
        True, f"The base model has the weights it was trained on: {base}."
    )  # fmt: skip
    kept = tmp_path / "kept"
    shutil.copytree(base, kept)
    replaced(base)
    status, holds, text = verified("mine", capsys)
    assert (status, holds) == (1, False)
    assert "does not have the weights it was trained on. Restore the weights" in text
    assert text.endswith("tunery models base mine MODEL")
    name_base("mine", str(kept))
    assert verified("mine", capsys)[1]
    shutil.rmtree(kept)
    status, holds, text = verified("mine", capsys)
    assert (status, holds) == (1, False)
    assert "tunery models base mine MODEL" in text
    shutil.rmtree(run.adapter_dir)  # no weights at all
    assert verified("mine", capsys)[1]


def test_the_advice_works_for_weights_put_back_elsewhere_and_for_those_that_are_wanted(
    run: RunFolder, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "old")
    replaced(base)
    found = name_base("mine", str(tmp_path / "old"))
    assert found.base
    assert found.base.path == tmp_path / "old"
    found = name_base("mine", str(base))
    assert found.base
    assert found.base.path == base
    replaced(base)
    with pytest.raises(ModelError, match="does not have the weights it was trained on"):
        resolve("mine")


def test_an_adapter_whose_base_moved_says_which_and_how_to_name_it(
    home: Path, base: Path, tmp_path: Path
) -> None:
    folder = adapter(base, tmp_path / "wandering")
    base.rename(tmp_path / "moved")
    with pytest.raises(ModelError) as caught:
        resolve(str(folder))
    assert f"it was trained on {base}" in caught.value.message
    assert caught.value.fix == (
        f"If the base model is elsewhere, set its location: tunery models base {folder} MODEL"
    )
    found = name_base(str(folder), str(tmp_path / "moved"))
    assert found.base
    assert found.base.path == tmp_path / "moved"


def test_an_adapter_that_names_no_base_can_be_given_one(
    home: Path, base: Path, tmp_path: Path
) -> None:
    folder = adapter(base, tmp_path / "nameless")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(
        ModelError, match=r"adapter_config\.json does not state its base model"
    ) as caught:
        resolve(str(folder))
    assert caught.value.fix == f"Set it: tunery models base {folder} MODEL"
    assert name_base(str(folder), str(base)).base is not None


@pytest.mark.parametrize("name", ["nothing", "base"])
def test_only_a_run_or_an_adapter_has_a_base(home: Path, base: Path, name: str) -> None:
    with pytest.raises(ModelError, match="neither a run nor an adapter folder"):
        name_base(str(base.parent / name), str(base))


def test_an_adapter_is_no_base(run: RunFolder, base: Path, tmp_path: Path) -> None:
    other = adapter(base, tmp_path / "other")
    with pytest.raises(ModelError, match="this is an adapter itself, with the base"):
        name_base("mine", str(other))


def test_a_fingerprint_is_kept_until_a_file_changes(base: Path) -> None:
    before = bases.fingerprint(base)
    assert bases.fingerprint(base) == before
    replaced(base)
    assert bases.fingerprint(base) != before
    assert torch.is_tensor(load_file(base / "model.safetensors").popitem()[1])
