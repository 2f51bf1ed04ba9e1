"""Downloads: whole, verified, resumed, and every refusal explained."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest
from tests.hub import Hub, model_files, safetensors, sha256
from tests.waiting import PATIENCE_SECONDS, until

from tunery import env
from tunery.errors import ModelError
from tunery.models import hubcache
from tunery.models.download import Policy
from tunery.models.download_errors import wrong_bytes
from tunery.models.ensure import ensure, pull
from tunery.models.progress import ProgressEvent
from tunery.models.resolve import resolve

FAST = Policy(attempts=3, first_delay_seconds=0.001, max_delay_seconds=0.002, silence_seconds=5)
BIG = 40_000  # rows of 64 bytes: a file of 2.5 MB


def refused(name: str, **more: object) -> ModelError:
    with pytest.raises(ModelError) as error:
        pull(name, policy=FAST, **more)  # type: ignore[arg-type]
    return error.value


def test_a_pulled_model_lies_in_the_ordinary_hub_cache(hub: Hub) -> None:
    repo = hub.add("org/tiny", model_files())
    found = pull("org/tiny", policy=FAST)
    assert found.kind == "hub"
    assert found.path == hubcache.hub_dir() / "models--org--tiny" / "snapshots" / repo.commit
    assert found.revision == repo.commit
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache("org/tiny", "config.json", cache_dir=hubcache.hub_dir())
    assert cached == str(found.path / "config.json")
    for name, data in repo.files.items():
        assert (found.path / name).read_bytes() == data
        assert (found.path / name).is_symlink()


def test_a_cached_model_resolves_without_a_socket(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", model_files())
    pull("org/tiny", policy=FAST)
    before = len(hub.log)

    def no_socket(*args: object, **more: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("org/tiny").path.is_dir()
    assert ensure("org/tiny").path.is_dir()
    assert len(hub.log) == before


def test_a_second_pull_fetches_no_byte_of_weights(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    pull("org/tiny", policy=FAST)
    sent = hub.sent("/")
    pull("org/tiny", policy=FAST)
    assert hub.sent("safetensors") == len(hub.repos["org/tiny"].files["model.safetensors"])
    assert hub.sent("/resolve/") + hub.sent("tiny/config") <= sent


def test_fifty_cuts_cost_no_byte_twice(hub: Hub) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    size = len(files["model.safetensors"])
    hub.fail(sha256(files["model.safetensors"]), times=50, cut_after=size // 51)
    found = pull("org/big", policy=FAST)
    assert (found.path / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert hub.sent(sha256(files["model.safetensors"])) == size
    assert len(hub.asked(sha256(files["model.safetensors"]))) == 51


def test_what_came_before_giving_up_is_kept_and_continued(hub: Hub) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    digest = sha256(files["model.safetensors"])
    hub.fail(digest, times=1, cut_after=1_000_000)
    hub.fail(digest, times=3, cut_after=0)
    error = refused("org/big")
    assert "the connection broke repeatedly while downloading model.safetensors" in error.message
    assert "The partial download is kept (976.6 KiB)." in error.fix
    with pytest.raises(ModelError, match=r"the weights|no weights|is missing|absent") as missing:
        resolve("org/big")
    assert "tunery models pull org/big" in missing.value.fix
    sent = hub.sent(digest)
    pull("org/big", policy=FAST)
    assert hub.sent(digest) - sent == len(files["model.safetensors"]) - 1_000_000


def test_a_snapshot_without_its_config_is_to_be_fetched_again(hub: Hub) -> None:
    hub.add("org/small", model_files())
    (pull("org/small", policy=FAST).path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing") as missing:
        resolve("org/small")
    assert missing.value.fix == "Download it: tunery models pull org/small"
    assert (pull("org/small", policy=FAST).path / "config.json").is_file()


def test_wrong_bytes_of_the_right_length_are_never_accepted(hub: Hub) -> None:
    files = model_files()
    hub.add("org/bad", files)
    digest = sha256(files["model.safetensors"])
    hub.fail(digest, times=-1, flip=True)
    error = refused("org/bad")
    assert "sent a file that does not match its checksum (SHA-256)" in error.message
    blobs = hubcache.repo_dir("org/bad") / "blobs"
    assert not (blobs / digest).exists()
    assert not list(blobs.glob(f"{digest}*"))


def test_a_small_file_with_wrong_bytes_is_refused_too(hub: Hub) -> None:
    hub.add("org/bad", model_files())
    hub.fail("/config.json", times=-1, flip=True)
    assert "config.json" in refused("org/bad").message


def test_bytes_damaged_once_are_fetched_again(hub: Hub) -> None:
    files = model_files()
    hub.add("org/once", files)
    hub.fail(sha256(files["model.safetensors"]), times=1, flip=True)
    assert pull("org/once", policy=FAST).path.is_dir()


def test_a_host_that_ignores_ranges_costs_a_restart_and_no_wrong_file(hub: Hub) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    digest = sha256(files["model.safetensors"])
    hub.fail(digest, times=1, cut_after=500_000)
    hub.fail(digest, times=1, ignore_range=True)
    found = pull("org/big", policy=FAST)
    assert (found.path / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_body_that_is_too_long_is_not_accepted(hub: Hub) -> None:
    files = model_files()
    hub.add("org/long", files)
    hub.fail(sha256(files["model.safetensors"]), times=-1, longer=10)
    pull("org/long", policy=FAST)  # the announced length decides; the hash is right
    assert resolve("org/long").size_bytes == len(files["model.safetensors"])


def test_a_partial_file_longer_than_the_file_starts_again(hub: Hub) -> None:
    files = model_files()
    hub.add("org/tiny", files)
    blobs = hubcache.repo_dir("org/tiny") / "blobs"
    blobs.mkdir(parents=True)
    digest = sha256(files["model.safetensors"])
    (blobs / f"{digest}.incomplete").write_bytes(b"x" * 100_000)
    assert pull("org/tiny", policy=FAST).path.is_dir()


def test_a_slow_drip_arrives(hub: Hub) -> None:
    files = model_files()
    hub.add("org/slow", files)
    hub.fail(sha256(files["model.safetensors"]), drip=16)
    assert pull("org/slow", policy=FAST).path.is_dir()


def test_a_host_in_trouble_is_asked_again(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    for status in (500, 502, 503, 504):
        hub.fail("/api/models", status=status)
        hub.fail("/config.json", status=status)
        pull("org/tiny", policy=Policy(attempts=5, first_delay_seconds=0.001))


def test_a_host_that_stays_in_trouble_is_given_up(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    hub.fail("/api/models", status=503, times=-1)
    error = refused("org/tiny")
    assert error.message == f"{hub.endpoint[7:]}: server error (HTTP 503)."
    assert "HF_ENDPOINT" in error.fix
    assert len(hub.log) == 3


def test_too_many_requests_wait_as_long_as_they_are_told(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    hub.fail("/api/models", status=429, retry_after="1")
    start = time.monotonic()
    pull("org/tiny", policy=FAST)
    assert time.monotonic() - start >= 1.0
    assert len(hub.asked("/api/models")) == 2


def test_a_wait_of_an_hour_is_said_and_not_waited(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    hub.fail("/api/models", status=429, retry_after="3600")
    assert "asks to retry in 60 minutes (HTTP 429)" in refused("org/tiny").message


def test_an_unknown_model_is_asked_for_once(hub: Hub) -> None:
    error = refused("org/nothing")
    assert "has no such model, or you have no access to it" in error.message
    assert "Check the spelling of owner/name. If it is private: Provide a token" in error.fix
    assert len(hub.log) == 1


def test_a_private_model_opens_with_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/mine", model_files(), private=True)
    assert "has no such model, or you have no access to it" in refused("org/mine").message
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert pull("org/mine", policy=FAST).path.is_dir()
    assert all("Authorization" not in r.headers for r in hub.log if r.host == "cdn")
    assert hub.asked(sha256(hub.repos["org/mine"].files["model.safetensors"]))


def test_a_refused_token_is_said_and_asked_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", model_files())
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_canary")
    error = refused("org/tiny")
    assert "the token was refused (HTTP 401)" in error.message
    assert "hf_wrong_canary" not in str(error)
    assert len(hub.log) == 1


def test_a_gated_model_is_explained(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/gated", model_files(), gated=True)
    error = refused("org/gated")
    assert error.message == "org/gated: gated: its authors ask you to accept their terms first."
    assert f"Accept its terms at {hub.endpoint}/org/gated with your account." in error.fix
    assert "Provide a token" in error.fix
    assert not hubcache.repo_dir("org/gated").exists()
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert "the token must belong to that account" in refused("org/gated").fix


def test_an_unknown_revision_is_said(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    assert refused("org/tiny@v9").message == "org/tiny: revision v9 not found."


def test_a_revision_is_pulled_by_branch_and_commit(hub: Hub) -> None:
    repo = hub.add("org/tiny", model_files(), branches=("main", "v1"))
    assert pull("org/tiny", revision="v1", policy=FAST).revision == repo.commit
    assert resolve("org/tiny@v1").path == resolve(f"org/tiny@{repo.commit[:8]}").path
    with pytest.raises(ModelError, match="revision v2 is not downloaded"):
        resolve("org/tiny@v2")


def test_only_safetensors_are_fetched_when_pickles_are_there_too(hub: Hub) -> None:
    files = model_files() | {
        "pytorch_model.bin": b"pickle",
        "training_args.bin": b"pickle",
        "original/consolidated.00.pth": b"pickle",
        "onnx/model.onnx": b"onnx",
        "model.fp16.safetensors": safetensors({"embed.weight": (64, 16)}),
        "LICENSE": b"",  # an empty file is a file too
    }
    hub.add("org/both", files)
    found = pull("org/both", policy=FAST)
    names = sorted(path.name for path in found.path.iterdir())
    small = ["LICENSE", "config.json", "model.safetensors", "tokenizer.json"]
    assert names == [*small, "tokenizer_config.json"]


def test_a_repo_of_pickles_is_refused_before_a_byte_is_fetched(hub: Hub) -> None:
    hub.add("org/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    error = refused("org/old")
    assert "contains only pickle weights (pytorch_model.bin)" in error.message
    assert len(hub.log) == 1


def test_a_repo_of_gguf_files_is_explained(hub: Hub) -> None:
    hub.add("org/gguf", {"README.md": b"", "a-q4.gguf": b"GGUF"})
    assert "contains only GGUF files (a-q4.gguf)" in refused("org/gguf").message


def test_a_file_name_that_leads_out_of_the_folder_is_refused(hub: Hub) -> None:
    hub.add("org/evil", model_files() | {"..json": b"{}"})
    pull("org/evil", policy=FAST)
    hub.add("org/evil2", model_files() | {"a\x00.json": b"{}"})
    assert "has the unsafe name" in refused("org/evil2").message


def test_a_page_in_place_of_a_hub_is_recognised(hub: Hub) -> None:
    hub.fail("/api/models", html=True, times=-1)
    assert "the response is not JSON; this is not a model hub" in refused("org/tiny").message


def test_what_goes_wrong_at_modelscope_names_its_own_setting(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    error = refused("org/tiny", source="modelscope")
    assert error.message.startswith("127.0.0.1:9 cannot be reached")
    assert "MODELSCOPE_ENDPOINT" in error.fix
    assert "--source hf" in error.fix
    assert "HF_ENDPOINT" not in error.fix
    made = wrong_bytes("a", "sha256", "host", "modelscope")
    assert "MODELSCOPE_ENDPOINT" in made.fix
    assert "HF_ENDPOINT" not in made.fix


def test_a_page_in_place_of_modelscope_names_its_setting(hub: Hub) -> None:
    hub.fail("/api/v1/models", html=True, times=-1)
    assert "MODELSCOPE_ENDPOINT" in refused("org/tiny", source="modelscope").fix


def test_no_network_is_a_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused("org/tiny")
    assert error.message.startswith("127.0.0.1:9 cannot be reached")
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.com")
    assert "HF_ENDPOINT: 'hf-mirror.com' is not a URL" in refused("org/tiny").message


def test_offline_by_the_environment_fetches_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused("org/tiny").message
    assert hub.log == []


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    monkeypatch.setattr(env, "free_bytes", lambda path: 1_000_000)
    error = refused("org/big")
    assert error.message.startswith("org/big: needs 2.6 MiB in ")
    assert "976.6 KiB free" in error.message
    assert len(hub.log) == 1


def test_progress_counts_every_byte_once(hub: Hub) -> None:
    files = model_files(shards=3, rows=4000)
    hub.add("org/three", files)
    events: list[ProgressEvent] = []
    pull("org/three", progress=events.append, policy=FAST)
    total = sum(map(len, files.values()))
    assert events[0].kind == "plan"
    assert (events[0].total_bytes, events[0].num_files) == (total, len(files))
    assert max(event.done_bytes for event in events) == total
    assert events[-1].kind == "done"


def test_an_adapter_brings_its_base_along(hub: Hub) -> None:
    hub.add("org/base", model_files())
    adapter = {
        "adapter_config.json": b'{"peft_type": "LORA", "base_model_name_or_path": "org/base"}',
        "adapter_model.safetensors": safetensors({"lora_A.weight": (8, 16)}),
    }
    hub.add("org/lora", adapter)
    found = pull("org/lora", policy=FAST)
    assert found.base is not None
    assert found.base.name == "org/base"
    assert found.kind == "hub"


def test_modelscope_gives_the_same_model(hub: Hub) -> None:
    files = model_files(rows=BIG) | {"pytorch_model.bin": b"pickle"}
    hub.add("org/tiny", files)
    hub.fail("FilePath=model.safetensors", times=2, cut_after=500_000)
    found = pull("org/tiny", source="modelscope", policy=FAST)
    assert "ModelScope" in found.why
    assert (found.path / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not (found.path / "pytorch_model.bin").exists()
    assert hub.sent("FilePath=model.safetensors") == len(files["model.safetensors"])
    assert not list(env.models_dir().glob(".parts*"))
    assert "has no such model" in refused("org/nothing", source="modelscope").message


PULL = """
import sys
from tunery.models.download import Policy
from tunery.models.ensure import pull
found = pull(sys.argv[1], policy=Policy(first_delay_seconds=0.01))
print(found.path)
"""


def test_two_processes_fetch_one_model_once(hub: Hub) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    argv = [sys.executable, "-c", PULL, "org/big"]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {child.communicate(timeout=PATIENCE_SECONDS)[0] for child in children}
    assert len(paths) == 1
    assert [child.returncode for child in children] == [0, 0]
    assert hub.sent(sha256(files["model.safetensors"])) == len(files["model.safetensors"])


def test_a_killed_download_goes_on_where_it_was(hub: Hub) -> None:
    files = model_files(rows=BIG)
    hub.add("org/big", files)
    digest = sha256(files["model.safetensors"])
    hub.fail(digest, drip=512)
    child = subprocess.Popen([sys.executable, "-c", PULL, "org/big"])
    partial = hubcache.repo_dir("org/big") / "blobs" / f"{digest}.incomplete"

    def halfway() -> bool:
        assert child.poll() is None or partial.exists()
        return partial.exists() and partial.stat().st_size > 100_000

    until(halfway, every=0.0)
    child.send_signal(signal.SIGKILL)
    child.wait()
    have = partial.stat().st_size
    hub.log.clear()
    pull("org/big", policy=FAST)
    assert hub.asked(digest)[0].headers["Range"] == f"bytes={have}-"
    assert hub.sent(digest) == len(files["model.safetensors"]) - have
