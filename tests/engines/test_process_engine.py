"""The engine in its own process, on tiny models: the suite, its life and its death."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chat_model import make_chat_model
from tests.engines.conformance import SHORT, EngineConformance, collect, text_of
from tests.limits import data_limit, has_gpu
from tests.waiting import PATIENCE_SECONDS, until

import tunery.services  # noqa: F401  (says which module is which process)
from tunery import memory
from tunery.decode.worker import Worker
from tunery.engines import process
from tunery.engines.base import Delta, GenerateRequest, SamplingOptions
from tunery.engines.folder import EngineFolder
from tunery.engines.process import ProcessEngine, ended_error, stop
from tunery.engines.spawning import begin as begin_engine
from tunery.engines.spawning import engine_env, spawn
from tunery.errors import EngineError, TuneryError
from tunery.workers.folder import write_json


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lora(base, tmp_path_factory.mktemp("lora"))


def make_lora(base: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    settings = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    wrapped: Any = get_peft_model(model, settings)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(folder)
    return folder


def begin(folder: EngineFolder, base: Path, **settings: Any) -> ProcessEngine:
    spawn(folder, base, dtype="fp32", device="cpu", **settings)
    return ProcessEngine(folder)


async def loaded(engine: ProcessEngine) -> None:
    await asyncio.wait_for(engine.ready(), PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def shared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessEngine]:
    folder = EngineFolder(tmp_path_factory.mktemp("engines") / "tiny")
    engine = begin(folder, base)
    asyncio.run(loaded(engine))
    yield engine
    stop(folder)
    assert not folder.alive()


class TestProcess(EngineConformance):
    @pytest.fixture
    def engine(self, shared: ProcessEngine) -> ProcessEngine:
        return ProcessEngine(shared.folder)

    @pytest.fixture
    def adapter(self, lora: Path) -> str:
        return str(lora)

    def test_hanging_up_cancels_within_a_moment(self, engine: ProcessEngine, run: Any) -> None:
        async def leave() -> None:
            events = engine.generate(GenerateRequest(prompt="x", max_tokens=400))
            async for event in events:
                if isinstance(event, Delta):
                    break
            await events.aclose()  # type: ignore[attr-defined]
            before = (await engine.status()).num_tokens
            while (await engine.status()).num_running:
                await asyncio.sleep(0.01)
            assert (await engine.status()).num_tokens - before < 200, "it goes on for nobody"

        run(asyncio.wait_for(leave(), PATIENCE_SECONDS))

    def test_a_bias_for_a_token_that_is_not_there_is_refused(
        self, engine: ProcessEngine, run: Any
    ) -> None:
        sampling = SamplingOptions(logit_bias={1_000_000: 5.0})
        with pytest.raises(EngineError, match="logit_bias has token 1000000"):
            run(collect(engine, replace(SHORT, sampling=sampling)))

    def test_a_full_queue_refuses_the_next(self, engine: ProcessEngine, run: Any) -> None:
        long = GenerateRequest(prompt="x", max_tokens=60, stop=("\0",))

        async def crowd() -> list[Any]:
            return await asyncio.gather(
                *(collect(engine, long) for _ in range(260)), return_exceptions=True
            )

        found = run(crowd())
        refused = [e for e in found if isinstance(e, EngineError)]
        assert {e.code for e in refused} <= {"queue_full"}
        answers = {text_of(events) for events in found if isinstance(events, list)}
        assert len(answers) == 1


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("gemma") / "tiny", kind="Gemma2")


@pytest.fixture(scope="module")
def gemma_lora(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lora(gemma, tmp_path_factory.mktemp("gemma-lora"))


@pytest.fixture(scope="module")
def general(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineFolder]:
    folder = EngineFolder(tmp_path_factory.mktemp("engines") / "gemma")
    asyncio.run(loaded(begin(folder, gemma)))
    assert folder.read()["fast"] is False
    yield folder
    stop(folder)


class TestProcessOfAnotherArchitecture(EngineConformance):
    """The general pass: a model whose layers are not those that the fast pass knows."""

    @pytest.fixture
    def engine(self, general: EngineFolder) -> ProcessEngine:
        return ProcessEngine(general)

    @pytest.fixture
    def adapter(self, gemma_lora: Path) -> str:
        return str(gemma_lora)


def test_a_folder_without_a_model_fails_with_the_loaders_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    engine = begin(EngineFolder(tmp_path / "e"), tmp_path / "empty")
    with pytest.raises(TuneryError, match="tokenizer"):
        asyncio.run(asyncio.wait_for(engine.ready(), PATIENCE_SECONDS))
    assert not engine.folder.alive()


def test_a_kill_is_told_as_memory_with_what_to_do(base: Path, tmp_path: Path) -> None:
    folder = EngineFolder(tmp_path / "e")
    engine = begin(folder, base)

    async def story() -> None:
        await asyncio.wait_for(engine.ready(), PATIENCE_SECONDS)
        assert engine.is_alive()
        os.kill(folder.read()["pid"], signal.SIGKILL)
        with pytest.raises(EngineError) as caught:
            await collect(engine, SHORT)
        assert caught.value.code == "gone"
        # How it ended is written by the process that waits for it, a moment after it is gone.
        while "signal 9" not in (status := await engine.status()).text:
            await asyncio.sleep(0.05)
        assert status.state == "failed"
        assert not engine.is_alive()
        assert "memory" in status.text

    asyncio.run(asyncio.wait_for(story(), PATIENCE_SECONDS))


def test_a_restarted_server_finds_it_again(shared: ProcessEngine, base: Path) -> None:
    pid = shared.folder.read()["pid"]
    assert data_limit(pid) == memory.total_bytes() or has_gpu()
    spawn(shared.folder, base)
    again = ProcessEngine(EngineFolder(shared.folder.path))
    assert text_of(asyncio.run(collect(again, replace(SHORT, max_tokens=2))))
    assert shared.folder.read()["pid"] == pid


def test_it_ends_when_nobody_asks(base: Path, tmp_path: Path) -> None:
    folder = EngineFolder(tmp_path / "e")
    begin(folder, base, idle_seconds=0.5)
    until(lambda: folder.read().get("pid"))
    until(lambda: not folder.alive())
    assert not folder.socket_file.exists()


def test_no_secret_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert not any("canary" in value for value in engine_env().values())


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    folder = EngineFolder(tmp_path / ("long" * 30))
    folder.make()
    assert len(str(folder.socket_file)) < 108
    assert (folder.socket_file.parent.stat().st_mode & 0o077) == 0


def test_a_tokenizer_that_panics_is_a_sentence_and_not_a_hang(base, home, tmp_path) -> None:
    """A panic of pyo3 is a BaseException; the thread that loads must still say that it ended."""
    broken = tmp_path / "panics"
    shutil.copytree(base, broken)
    file = broken / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": ""}, "content": "x"}
    file.write_text(json.dumps(tokenizer))
    worker = Worker(_carded(EngineFolder.of(broken, dtype="fp32", device="cpu"), broken))

    class Panic(BaseException):
        """As pyo3_runtime.PanicException: no Exception."""

    def panics(*_: object, **__: object) -> None:
        raise Panic("attempt to subtract with overflow")

    async def loading() -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tunery.decode.local.LocalEngine", panics)
            worker.load(asyncio.get_running_loop())
        await asyncio.wait_for(worker.loaded.wait(), 5)

    asyncio.run(loading())
    assert isinstance(worker.error, EngineError)
    assert "subtract with overflow" in worker.error.message
    assert worker.folder.read()["failed"]["code"] == "damaged"


def _carded(folder: EngineFolder, base: Path) -> EngineFolder:
    folder.make()
    folder.write(base=str(base), dtype="fp32", device="cpu")
    return folder


def test_an_engine_that_is_stopped_holds_up_nobody(base, home, monkeypatch) -> None:
    """SIGSTOP: it lives and never answers; its own status says so in two seconds."""
    monkeypatch.setattr(process, "SILENT_SECONDS", 3.0)
    folder = EngineFolder.of(base, dtype="fp32", device="cpu")
    engine = begin(folder, base)

    async def asked() -> None:
        await loaded(engine)
        pid = int(folder.read()["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            status = await engine.status()
            assert time.monotonic() - began < 2 * process.STATUS_SECONDS
            assert (status.state, status.text) == ("loading", "not responding")
            with pytest.raises(EngineError) as caught:
                await engine.ready()
            assert caught.value.code == "gone"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await engine.status()).state == "ready"
        await engine.close()

    asyncio.run(asked())


HOLDER = """
import asyncio, sys
import tunery.services
from pathlib import Path
from tunery.engines import process
seconds = float(sys.argv[2]) or None
async def main():
    await process.start(Path(sys.argv[1]), "fp32", device="cpu", held=True, idle_seconds=seconds)
    print("ready", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_ends_with_the_server_that_started_it_for_itself(base, home, sent) -> None:
    folder = EngineFolder.of(base, dtype="fp32", device="cpu")
    server = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(base), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        assert folder.alive()
        (who,) = folder.holders()
        assert (who["pid"], who["keep"]) == (server.pid, True)
    finally:
        server.send_signal(sent)
        server.communicate()
    until(lambda: not folder.alive())
    assert folder.holders() == []


def test_an_engine_that_is_kept_is_not_unloaded_for_want_of_requests(base, home) -> None:
    """``tunery serve`` keeps its models; a given time unloads them."""

    async def alive_after(keep: bool) -> bool:
        folder = EngineFolder.of(base, dtype="fp32", device="cpu")
        folder.make()
        folder.hold(keep=keep)
        engine = begin(folder, base, idle_seconds=1.0, held=True)
        await loaded(engine)
        await asyncio.sleep(4)
        alive = folder.alive()
        await engine.close()
        return alive

    assert asyncio.run(alive_after(keep=True))
    assert not asyncio.run(alive_after(keep=False))


@pytest.mark.parametrize(
    ("code", "said"),
    [(-signal.SIGKILL, "memory"), (-signal.SIGABRT, "A native library aborted the engine")],
)
def test_what_ended_an_engine_is_a_sentence(tmp_path: Path, code: int, said: str) -> None:
    folder = EngineFolder(tmp_path / "e")
    folder.make()
    write_json(folder.exit_file, {"code": int(code)})
    error = ended_error(folder)
    assert said in f"{error.message} {error.fix}"
    assert str(folder.log_file) in f"{error.message} {error.fix}" or "memory" in said


def test_an_engine_ends_soon_after_the_last_process_that_needs_it(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour is for a server that is there; one that has gone leaves 60 s to come back."""
    monkeypatch.setattr("tunery.decode.worker.ABANDONED_SECONDS", 1.5)
    worker = Worker(_carded(EngineFolder.of(base, dtype="fp32", device="cpu"), base))
    worker.loaded.set()
    needed = [True]
    monkeypatch.setattr(EngineFolder, "holders", lambda self: [{"pid": 1}] if needed else [])

    async def watched() -> tuple[bool, float]:
        watch = asyncio.create_task(worker.watch())
        await asyncio.sleep(2.5)
        lives = not worker.ending.is_set()
        needed.clear()
        gone = time.monotonic()
        await asyncio.wait_for(worker.ending.wait(), PATIENCE_SECONDS)
        watch.cancel()
        return lives, time.monotonic() - gone

    lives, took = asyncio.run(watched())
    assert lives
    assert took > 0.5


def test_every_process_that_uses_an_engine_holds_it(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunery.engines.spawning.spawn", lambda *_, **__: None)
    folder = begin_engine(base, "fp32", device="cpu")
    (who,) = folder.holders()
    assert (who["pid"], who["keep"]) == (os.getpid(), False)
