"""Starting `tunery web`: the port, what is printed, how it ends, what it imports."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from tests.waiting import PATIENCE_SECONDS

from tunery.errors import LaunchError
from tunery.server import run
from tunery.server.app import create_app
from tunery.server.settings import ServerSettings

HEAVY = {"torch", "transformers", "peft", "datasets", "accelerate", "numpy", "pyarrow"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``tunery web`` as a process, once it listens; and what it printed."""
    port = str(free_port())
    command = [sys.executable, "-m", "tunery", "web", "--no-open", "--port", port, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        else:
            pytest.fail(process.stderr.read())
        yield process, printed
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def address(printed: str) -> tuple[str, str]:
    """The printed address and the token behind it."""
    line = next(line for line in printed.splitlines() if "#token=" in line)
    url, _, token = line.strip().partition("/#token=")
    return url, token


def test_it_prints_the_address_with_the_token_and_the_tunnel(home):
    with started() as (process, printed):
        url, token = address(printed)
        assert token == (home / "token").read_text().strip()
        port = url.rpartition(":")[2]
        assert f"ssh -N -L {port}:127.0.0.1:{port} " in printed
        assert "Only this machine" in printed
        listening = [
            c for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"
        ]
        assert [tuple(c.laddr) for c in listening] == [("127.0.0.1", int(port))]
        answer = httpx.get(f"{url}/api/v1/health", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_it_ends_at_once_and_cleanly_though_a_page_listens(home, sig):
    with started() as (process, printed):
        url, token = address(printed)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{url}/api/v1/events?topics=runs", headers=headers) as stream:
            next(stream.iter_text())
            process.send_signal(sig)
            assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr
        assert process.stderr.read() == ""


@pytest.mark.parametrize("port", [-1, 65536, 99999, 2**40])
def test_what_is_no_port_is_refused(home, port):
    with pytest.raises(LaunchError) as caught:
        run.listen(ServerSettings(port=port))
    assert caught.value.code == "bad_port"
    assert str(port) in caught.value.message


def test_port_0_takes_a_free_one_and_prints_it(home):
    app = create_app(ServerSettings(port=0), api=())
    listener = run.listen(app.state.settings)
    with listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert any(f"127.0.0.1:{port}/#token=" in line for line in run.lines(app))
        assert not any(":0/" in line for line in run.lines(app))


def test_a_second_one_on_the_same_port_says_who_has_it_and_which_is_free(home):
    with started() as (process, printed):
        port = int(address(printed)[0].rpartition(":")[2])
        with pytest.raises(LaunchError) as caught:
            run.listen(ServerSettings(port=port))
        assert f"process {process.pid}" in caught.value.message
        assert str(port) in caught.value.message
        free = int(caught.value.fix.rpartition(" ")[2])
        assert free > port
        run.listen(ServerSettings(port=free)).close()
        second = subprocess.run(
            [sys.executable, "-m", "tunery", "web", "--port", str(port)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode == 2
        assert "is in use by" in second.stderr
        assert "Traceback" not in second.stderr
        assert second.stdout == ""


@pytest.mark.parametrize(
    ("host", "sentence"),
    [("203.0.113.1", "does not have that address"), ("no.such.invalid", "unknown address")],
)
def test_an_address_that_is_not_here_is_a_sentence(home, host, sentence):
    with pytest.raises(LaunchError, match=sentence):
        run.listen(ServerSettings(host=host, port=free_port()))


def test_a_public_address_and_a_proxy_are_said_aloud(home):
    public = "\n".join(run.lines(create_app(ServerSettings(host="0.0.0.0", port=7000))))
    assert "! Anyone can reach port 7000" in public
    assert "http://127.0.0.1:7000/#token=" in public
    assert "ssh -N" not in public
    proxied = run.lines(
        create_app(ServerSettings(public_urls=("https://pod.example.net",), root_path="/p"))
    )
    assert any(line.strip().startswith("https://pod.example.net/p/#token=") for line in proxied)
    assert any(
        "It is reachable through a proxy; only the token protects it" in line for line in proxied
    )


def test_a_new_token_ends_the_old_one(home):
    create_app(ServerSettings()).state.token.token()
    old = (home / "token").read_text().strip()
    with started("--new-token") as (_, printed):
        url, token = address(printed)
        assert token != old
        for bearer, status in ((old, 401), (token, 200)):
            headers = {"Authorization": f"Bearer {bearer}"}
            assert httpx.get(f"{url}/api/v1/health", headers=headers).status_code == status


def test_two_first_starts_agree_on_one_token(home):
    script = "from tunery.server.app import create_app as c; print(c().state.token.token())"
    starts = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({start.communicate()[0] for start in starts}) == 1


def test_the_web_process_imports_nothing_heavy(home):
    with started() as (process, printed):
        url, token = address(printed)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
        for path in ("/", "/api/v1/version", "/api/v1/openapi.json", "/login"):
            assert httpx.get(url + path, headers=headers).status_code == 200
        mapped = {m.path for m in psutil.Process(process.pid).memory_maps()}
    assert [path for path in mapped if any(f"/{name}/" in path for name in HEAVY)] == []


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, json, tunery.web.app, tunery.server.run; print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(json.loads(done.stdout)) == set()


LIBRARIES = "import fastapi, uvicorn, jinja2, pydantic, httpx, cyclopts, rich.table"


def test_it_is_ready_after_four_times_the_work_of_its_libraries(home):
    """Counted in processor time, as a ratio: machines and what else they do differ."""
    before = psutil.Process().cpu_times()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    after = psutil.Process().cpu_times()
    libraries = sum(
        getattr(after, name) - getattr(before, name)
        for name in ("children_user", "children_system")
    )
    with started() as (process, _):
        times = psutil.Process(process.pid).cpu_times()
        assert times.user + times.system < 4 * libraries
