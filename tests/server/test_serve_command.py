"""``tunery serve`` as a person sees it: what is printed works, Ctrl-C ends it, keys stay secret."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from tests.waiting import PATIENCE_SECONDS

from tunery.cli.main import main
from tunery.services.chat import _serving

CHILD = Path(__file__).with_name("serve_stub.py")


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


class Serve:
    """One child and what it printed."""

    before: Sequence[str] = ()

    def __init__(self, *words: str, **variables: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [*self.before, sys.executable, str(CHILD), "--port", str(self.port), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | variables,
        )  # fmt: skip

    def lines(self, last: str) -> list[str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if last in line:
                return lines
        raise AssertionError(f"{lines} {self.end()}")

    def end(self, sig: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(sig)
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def serve(home: Path) -> Iterator:
    made: list[Serve] = []

    def start(*words: str, **variables: str) -> Serve:
        made.append(Serve(*words, **variables))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_what_it_prints_works_as_it_stands(serve, home):
    child = serve("my-run", "base=demo")
    lines = child.lines("Ctrl-C stops it.")
    assert lines[0] == "Models    my-run, base"
    assert f"Base URL  http://127.0.0.1:{child.port}/v1" in lines
    text = "\n".join(lines)
    curl = text[text.index("curl ") : text.index("python - <<")]
    done = subprocess.run(["sh", "-c", f"{curl.strip()} -s"], capture_output=True, text=True)
    message = json.loads(done.stdout)["choices"][0]["message"]["content"]
    assert "echo: Who are you?" in message
    python = text[text.index("from openai") : text.index("\nEND")]
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True)
    assert "echo: Who are you?" in done.stdout, done.stderr
    key = (home / "serve.key").read_text().strip()
    assert f"API key   {key}" in lines
    assert (home / "serve.key").stat().st_mode & 0o777 == 0o600
    health = httpx.get(f"http://127.0.0.1:{child.port}/health").json()
    assert health == {"status": "ok", "unload_after_minutes": 0}
    status, out, err = child.end()
    assert status == 0
    assert out.split("\n")[:2] == ["unloaded my-run", "unloaded demo"]
    assert "Traceback" not in err
    again = serve("demo")
    assert f"API key   {key}" in again.lines("Ctrl-C stops it.")  # the same at the next start


def test_programs_get_one_line(serve):
    child = serve("demo", "--json", "--unload-after-minutes", "30")
    (line,) = child.lines("ready")
    told = json.loads(line)
    assert told["type"] == "ready"
    assert told["models"] == ["demo"]
    assert told["pid"] == child.process.pid
    health = httpx.get(told["base_url"].removesuffix("/v1") + "/health").json()
    assert health["unload_after_minutes"] == 30
    client = openai.OpenAI(base_url=told["base_url"], api_key=told["key"], max_retries=0)
    with client:
        assert [each.id for each in client.models.list()] == ["demo"]
    bearer = {"Authorization": f"Bearer {told['key']}"}
    for path in ("/api/v1/keys", "/api/v1/session", "/"):
        answer = httpx.get(told["base_url"].removesuffix("/v1") + path, headers=bearer)
        assert answer.status_code in (403, 404, 405), path


def test_a_key_of_ones_own_is_not_printed(serve):
    child = serve("demo", TUNERY_API_KEY="my-own-secret-key-1, another-secret-key-2")
    text = "\n".join(child.lines("Ctrl-C stops it."))
    assert "secret" not in text
    assert "$TUNERY_API_KEY" in text
    for key, status in (("my-own-secret-key-1", 200), ("another-secret-key-2", 200), ("x", 401)):
        answer = httpx.get(
            f"http://127.0.0.1:{child.port}/v1/models", headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == status
    environment = Path(f"/proc/{child.process.pid}/cmdline").read_text()
    assert "secret" not in environment


def test_ctrl_c_ends_open_streams_with_a_word(serve):
    child = serve("demo", "--json")
    told = json.loads(child.lines("ready")[0])
    with openai.OpenAI(base_url=told["base_url"], api_key=told["key"], max_retries=0) as client:
        stream = client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        next(iter(stream))
        child.process.send_signal(signal.SIGINT)
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
    assert child.end()[0] == 0


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(serve):
    child = serve("broken")
    _, err = child.process.communicate(timeout=PATIENCE_SECONDS)
    assert child.process.returncode == 2
    assert "broken: a shard is missing." in err
    assert "Fetch it again." in err
    assert "Traceback" not in err


def test_a_taken_port_is_told_before_anything_is_loaded(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        child = serve("demo", "--port", str(port))
        _, err = child.process.communicate(timeout=PATIENCE_SECONDS)
    assert child.process.returncode == 2
    assert f"Port {port} is in use" in err
    assert "Loading" not in err


@pytest.mark.parametrize(("key", "host"), [("two words", "127.0.0.1"), ("short", "0.0.0.0")])
def test_a_weak_key_is_refused(serve, key, host):
    child = serve("demo", "--host", host, TUNERY_API_KEY=key)
    _, err = child.process.communicate(timeout=PATIENCE_SECONDS)
    assert child.process.returncode == 2
    assert "--api-key" in err


def test_it_speaks_chinese(serve):
    child = serve("demo", TUNERY_LANG="zh")
    lines = child.lines("按 Ctrl-C 结束。")
    assert lines[0] == "模型      demo"


def test_the_command_becomes_the_server(home, monkeypatch):
    seen = []
    monkeypatch.setattr("tunery.models.ensure.ensure", lambda name, progress: seen.append(name))
    monkeypatch.setattr(os, "execv", lambda path, words: seen.append(words))
    monkeypatch.delenv("TUNERY_API_KEY", raising=False)
    assert main(["serve", "a", "b=c", "--port", "9", "--api-key", "k1", "--api-key", "k2"]) == 0
    assert seen[:2] == ["a", "c"]
    assert seen[2][1:] == ["-m", "tunery.server", "--host", "127.0.0.1", "--port", "9",
                           "--unload-after-minutes", "0", "--", "a", "b=c"]  # fmt: skip
    assert os.environ.pop("TUNERY_API_KEY") == "k1,k2"


def test_names_are_no_paths(demo_home, demo_model):
    assert [each.name for each in _serving.fix_served(["demo", f"mine={demo_model}"])] == [
        "demo",
        "mine",
    ]
    assert _serving.fix_served([str(demo_model)])[0].name == demo_model.name
    _serving.unfix()


def test_what_is_switched_on_stays_on(demo_home):
    assert _serving.served() == ()
    _serving.serve("demo")
    _serving.serve("demo", name="other")
    assert [each.name for each in _serving.served()] == ["demo", "other"]
    assert "chatml" not in _serving.template_source(_serving.resolve("demo"))
    assert "im_start" in _serving.template_source(_serving.resolve("demo"))
    _serving.unserve("demo")
    assert [each.name for each in _serving.served()] == ["other"]
    with pytest.raises(Exception, match="Did you mean other"):
        _serving.find_served("othr")


@pytest.mark.parametrize(
    ("path", "code"), [("/v1/chat/completions", "shutting_down"), ("/v1/messages", None)]
)
def test_sigterm_ends_an_answer_that_is_not_streamed_with_a_503(serve, path, code):
    child = serve("demo", "--json", TUNERY_API_KEY="k" * 24)
    child.lines("ready")
    body = {"model": "demo", "max_tokens": 400, "messages": [{"role": "user", "content": "hello"}]}
    url, headers = f"http://127.0.0.1:{child.port}{path}", {"x-api-key": "k" * 24}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, url, json=body, headers=headers, timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        metrics = f"http://127.0.0.1:{child.port}/metrics"
        bearer = {"Authorization": f"Bearer {'k' * 24}"}
        while "tunery_open_requests 1.0" not in httpx.get(metrics, headers=bearer).text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.process.send_signal(signal.SIGTERM)
        answer = asked.result()
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert "shutting down" in error["message"]
    assert error.get("code") == code


def test_too_many_connections_for_the_limit_of_files_are_one_line_of_the_log(serve, monkeypatch):
    monkeypatch.setattr(Serve, "before", ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    child = serve("demo", "--json", TUNERY_API_KEY="k" * 24)
    child.lines("ready")
    held = [socket.create_connection(("127.0.0.1", child.port)) for _ in range(120)]
    time.sleep(3)
    for each in held:
        each.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{child.port}/health").status_code == 200:
                break
        assert time.monotonic() < deadline
    _, _, err = child.end()
    assert [line for line in err.splitlines() if "refused" in line] == err.splitlines()
    assert len(err.splitlines()) == 1


def test_the_engine_starts_before_the_server_is_imported(home: Path) -> None:
    """What both import takes as long as the weights: they do it side by side."""
    code = """
import json, sys
from tunery.server.__main__ import main
from tunery.services.chat import _engines, _serving

class Pool:
    def start_ahead(self, name):
        print(json.dumps([name, *sys.modules]), flush=True)
        raise SystemExit

_serving._described = lambda model, name: _serving.Served(name or model, model, 0)
_engines.use_pool(Pool())
main(sys.argv[1:])
"""
    words = [sys.executable, "-c", code, "first", "second", "--port", str(free_port())]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    name, *modules = json.loads(said.stdout)
    assert name == "first"
    assert not {"fastapi", "uvicorn", "httpx", "torch", "transformers"} & set(modules)


def test_the_command_line_of_serve_imports_no_settings(home: Path, tmp_path: Path) -> None:
    """It is replaced by the server's process as soon as the models are known to be there."""
    code = """
import json, os, sys
from tunery.cli.main import main
os.execv = lambda path, words: print(json.dumps(list(sys.modules)), flush=True)
main(["serve", sys.argv[1]])
"""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    words = [sys.executable, "-c", code, str(tmp_path / "model")]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    modules = json.loads(said.stdout)
    assert not {"pydantic", "httpx", "torch", "transformers", "fastapi"} & set(modules)
