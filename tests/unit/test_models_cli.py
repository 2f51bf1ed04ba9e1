"""`tunery models`, as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub, model_files, safetensors, sha256, write_files

from tunery.cli.main import main
from tunery.models import consent, hubcache


@pytest.fixture
def tunery(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command; gives (exit status, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_pull_resolve_list_show_remove_in_one_session(hub: Hub, tunery: Any) -> None:
    repo = hub.add("org/tiny", model_files())
    status, out, _ = tunery("models", "pull", "org/tiny")
    assert status == 0
    assert out.startswith("✓ org/tiny: llama, 1.02K, safetensors F32, 2,048 tokens of context")
    status, out, _ = tunery("models", "resolve", "org/tiny", "--json")
    found = json.loads(out)
    assert (status, found["kind"], found["revision"]) == (0, "hub", repo.commit)
    assert Path(found["path"]).is_dir()
    status, out, _ = tunery("models", "list", "--json")
    assert [(e["name"], e["ok"]) for e in json.loads(out)] == [("demo", False), ("org/tiny", True)]
    status, out, _ = tunery("models", "list")
    assert "not downloaded yet: tunery models pull demo" in " ".join(out.split())
    status, out, _ = tunery("models", "show", "org/tiny")
    assert status == 0
    assert "eos </s>" in out
    status, out, _ = tunery("models", "show", "org/tiny", "--json")
    assert json.loads(out)["special_tokens"] == {"eos_token": "</s>"}
    status, out, _ = tunery("models", "remove", "org/tiny", "--yes", "--json")
    assert json.loads(out)["removed"] is True
    assert not hubcache.repo_dir("org/tiny").exists()
    assert tunery("models", "resolve", "org/tiny")[0] == 2


def test_pull_for_machines_prints_one_object_a_line(hub: Hub, tunery: Any) -> None:
    hub.add("org/tiny", model_files())
    status, out, _ = tunery("models", "pull", "org/tiny", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert lines[0]["event"] == "plan"
    assert lines[-1]["type"] == "result"
    assert lines[-1]["kind"] == "hub"


def test_an_error_for_machines_is_json_on_stdout(tunery: Any) -> None:
    status, out, err = tunery("models", "resolve", "nothing", "--json")
    assert status == 2
    assert json.loads(out)["error"] == "ModelError"
    assert "fix:" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("resolve", "no-such"),
            "Model 'no-such' not found: there is no model, run or folder with this name.",
        ),
        (("resolve", "/no/such"), "no such file or folder; / exists."),
        (("show", "org/none"), "org/none: not downloaded"),
        (("pull", "no-such"), "no-such: cannot be downloaded."),
        (("pull", "/no/such"), "/no/such: cannot be downloaded."),
        (("remove", "org/none"), "is not downloaded, so there is nothing to remove"),
        (("remove", "demo"), "is not downloaded, so there is nothing to remove"),
        (("remove", "no-such"), "not found: there is no model, run or folder with this name"),
        (("pull", "org/x", "--source", "nowhere"), "nowhere"),
        (("allow-code", "org/none"), "org/none: not downloaded"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_exit_2(
    tunery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, sentence: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    status, out, err = tunery("models", *words)
    assert status == 2
    assert sentence in err
    assert out == ""


def test_a_refusal_of_the_hub_is_exit_2(hub: Hub, tunery: Any) -> None:
    hub.add("org/gated", model_files(), gated=True)
    status, _, err = tunery("models", "pull", "org/gated")
    assert status == 2
    assert "its authors ask you to accept their terms first" in err
    assert "Traceback" not in err


def test_a_folder_of_the_users_is_never_deleted(tunery: Any, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "mine", model_files())
    status, _, err = tunery("models", "remove", str(folder), "--yes")
    assert status == 2
    assert "not created by Tunery, so it is not deleted" in err
    assert (folder / "config.json").is_file()
    for name in ("../mine", ".", "..", "models", ".locks"):
        assert tunery("models", "remove", name, "--yes")[0] == 2


def test_a_run_is_not_removed_as_a_model(tunery: Any, home: Path) -> None:
    run = home / "runs" / "r1"
    run.mkdir(parents=True)
    status, _, err = tunery("models", "remove", "r1", "--yes")
    assert status == 2
    assert "tunery runs delete r1" in err


def test_removing_asks_first_and_needs_yes_in_a_pipe(hub: Hub, tunery: Any) -> None:
    hub.add("org/tiny", model_files())
    tunery("models", "pull", "org/tiny")
    status, _, err = tunery("models", "remove", "org/tiny")
    assert status == 2
    assert "Not running interactively, so this cannot be confirmed" in err
    assert "--yes" in err
    assert hubcache.repo_dir("org/tiny").is_dir()


def test_one_revision_is_removed_and_the_other_stays(hub: Hub, tunery: Any) -> None:
    hub.add("org/tiny", model_files())
    tunery("models", "pull", "org/tiny")
    old = hub.repos["org/tiny"].commit
    newer = model_files(rows=80)
    hub.add("org/tiny", newer)
    tunery("models", "pull", "org/tiny")
    status, out, _ = tunery("models", "remove", f"org/tiny@{old}", "--yes", "--json")
    assert status == 0
    assert json.loads(out)["freed_bytes"] == len(model_files()["model.safetensors"])
    assert tunery("models", "resolve", "org/tiny")[0] == 0
    blobs = hubcache.repo_dir("org/tiny") / "blobs"
    assert (blobs / sha256(newer["model.safetensors"])).is_file()
    assert not (blobs / sha256(model_files()["model.safetensors"])).exists()


def test_a_symlinked_model_folder_keeps_what_it_points_to(tunery: Any, home: Path) -> None:
    record = b'{"source": {"kind": "gguf"}, "notes": []}'
    real = write_files(home.parent / "real", model_files() | {"tunery.json": record})
    (home / "models").mkdir(parents=True)
    (home / "models" / "linked").symlink_to(real)
    assert tunery("models", "remove", "linked", "--yes")[0] == 0
    assert (real / "config.json").is_file()
    assert not (home / "models" / "linked").exists()


def test_a_broken_model_is_listed_with_its_reason(hub: Hub, tunery: Any) -> None:
    files = model_files(shards=3)
    repo = hub.add("org/three", files)
    tunery("models", "pull", "org/three")
    snapshot = hubcache.repo_dir("org/three") / "snapshots" / repo.commit
    (snapshot / "model-00002-of-00003.safetensors").unlink()
    _, out, _ = tunery("models", "list")
    assert "shard 2 of 3 is missing" in " ".join(out.split())
    status, _, _ = tunery("models", "pull", "org/three")
    assert status == 0
    assert (snapshot / "model-00002-of-00003.safetensors").is_file()


def test_no_secret_is_printed_or_stored(
    hub: Hub, tunery: Any, monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    hub.token = "hf_canary_0123456789"
    hub.add("org/mine", model_files(), private=True)
    hub.add("org/gated", model_files(), gated=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint.replace("://", "://user:canary_pw@"))
    said = ""
    for words in (("pull", "org/mine", "--json"), ("pull", "org/gated"), ("show", "org/mine")):
        _, out, err = tunery("models", *words)
        said += out + err
    assert "canary" not in said
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path


class TestCode:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        config = b'{"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}'
        files = model_files() | {"config.json": config, "modeling.py": b"print('hello')\n"}
        return write_files(tmp_path / "m", files)

    def test_the_code_is_shown_and_allowed_by_its_hash(self, tunery: Any, folder: Path) -> None:
        status, out, err = tunery("models", "allow-code", str(folder))
        digest = consent.code_of(folder).sha256
        assert status == 2
        assert "print('hello')" in out
        assert f"--sha256 {digest[:16]}" in err
        assert tunery("models", "resolve", str(folder))[0] == 2
        status, out, _ = tunery("models", "allow-code", str(folder), "--sha256", digest[:16])
        assert status == 0
        assert tunery("models", "resolve", str(folder))[0] == 0
        _, out, _ = tunery("models", "allow-code", str(folder))
        assert "needs no custom code, or already has your consent" in out
        _, out, _ = tunery("models", "allow-code", str(folder), "--revoke", "--json")
        assert json.loads(out)["revoked"] == 1
        assert tunery("models", "resolve", str(folder))[0] == 2

    def test_another_hash_allows_nothing(self, tunery: Any, folder: Path) -> None:
        for digest in ("0" * 64, consent.code_of(folder).sha256[:4]):
            assert tunery("models", "allow-code", str(folder), "--sha256", digest)[0] == 2
        assert consent.entries() == []

    def test_a_model_without_code_has_nothing_to_allow(self, tunery: Any, tmp_path: Path) -> None:
        folder = write_files(
            tmp_path / "n", model_files() | {"config.json": b'{"model_type": "x"}'}
        )
        assert tunery("models", "allow-code", str(folder))[0] == 2


def test_an_adapter_is_shown_with_its_base(tunery: Any, tmp_path: Path) -> None:
    base = write_files(tmp_path / "base", model_files())
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base)}
    folder = write_files(
        tmp_path / "a",
        {
            "adapter_config.json": json.dumps(config).encode(),
            "adapter_model.safetensors": safetensors({"lora_A.weight": (8, 16)}),
        },
    )
    _, out, _ = tunery("models", "show", str(folder), "--json")
    assert json.loads(out)["base"]["path"] == str(base)
    _, out, _ = tunery("models", "show", str(folder))
    assert "base model" in out
